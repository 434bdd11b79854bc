"""Drawing of one synthetic image: rotated shapes that may occlude each other, on a cluttered, noisy background.

All shapes are polygons, drawn at `SUPERSAMPLING` times the resolution and averaged, so edges are antialiased. Random
numbers come from numpy's legacy generator, whose streams are frozen across numpy versions.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLING = 4
PLACEMENT_TRIES = 30  # proposals for one object before it is left out


MAX_SHAPES = 1000  # of a kind in an image; ours: far above every use, and drawn in seconds


@dataclass(frozen=True, slots=True)
class SceneStyle:
    """Difficulty of the scenes. The defaults are ours: easy enough for minutes of training on a CPU.

    Args:
        min_objects: fewest objects of an image that is not empty.
        max_objects: most objects of an image.
        min_size: smallest diameter of an object, as a fraction of the image's side.
        max_size: largest diameter.
        max_stretch: largest ratio between an object's two axes.
        max_overlap: largest fraction of an object that later objects and the image border may hide.
        empty_fraction: fraction of images without objects.
        clutter: lines and specks in the background of an image.
        lookalikes: unlabelled shapes of other kinds (half discs, pentagons, wedges) in an image.
        noise: standard deviation of the pixel noise in grey levels of 255.
        min_contrast: smallest RGB distance between an object and the background behind it, in grey levels.
    """

    min_objects: int = 1
    max_objects: int = 5
    min_size: float = 0.16
    max_size: float = 0.42
    max_stretch: float = 1.25
    max_overlap: float = 0.3
    empty_fraction: float = 0.05
    clutter: int = 12
    lookalikes: int = 0
    noise: float = 5.0
    min_contrast: float = 90.0

    def __post_init__(self) -> None:
        for low, high in (("min_objects", "max_objects"), ("min_size", "max_size")):
            if not 0 < getattr(self, low) <= getattr(self, high):
                raise ValueError(
                    f"scene style needs 0 < {low} <= {high}, got {getattr(self, low)} and {getattr(self, high)}"
                )
        if self.max_size > 1 or self.max_stretch < 1:
            raise ValueError(f"scene style needs max_size <= 1 <= max_stretch, got {self.max_size}, {self.max_stretch}")
        if not (0 <= self.max_overlap < 1 and 0 <= self.empty_fraction <= 1):
            raise ValueError(
                f"scene style needs fractions, got max_overlap={self.max_overlap}, empty_fraction={self.empty_fraction}"
            )
        if min(self.clutter, self.lookalikes, self.noise, self.min_contrast) < 0:
            raise ValueError("scene style needs clutter, lookalikes, noise and min_contrast >= 0")
        for name in ("max_objects", "clutter", "lookalikes"):
            if getattr(self, name) > MAX_SHAPES:
                raise ValueError(f"scene style needs {name} <= {MAX_SHAPES}, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class SceneObject:
    """A labelled object of a scene.

    Args:
        label: index into `CLASS_NAMES`.
        box: (x, y, w, h) of its visible part, in pixels.
        area: of its visible part, in square pixels.
        mask: (size, size) bool, pixels of which its visible part covers at least half.
    """

    label: int
    box: tuple[float, float, float, float]
    area: float
    mask: np.ndarray


def _regular(corners: int, phase: float = 0.0) -> np.ndarray:
    """Return the corners (n, 2) of a regular polygon on the unit circle."""
    angles = phase + 2 * np.pi * np.arange(corners) / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _star() -> np.ndarray:
    corners = _regular(10, -np.pi / 2)
    corners[1::2] *= 0.42  # between the pentagram's 0.38 and a rounder star
    return corners


def _cross() -> np.ndarray:
    arm = 0.32  # half the bar's width
    corner = [(arm, 1), (arm, arm), (1, arm)]
    quarter = np.array(corner, dtype=float)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    return np.concatenate([quarter[::-1] @ np.linalg.matrix_power(turn.T, k) for k in range(4)])


_DISC = _regular(64)
# Contours in the unit circle: the outline, then the hole, if any.
SHAPES: dict[str, tuple[np.ndarray, ...]] = {
    "circle": (_DISC,),
    "square": (_regular(4, np.pi / 4),),
    "triangle": (_regular(3, -np.pi / 2),),
    "star": (_star(),),
    "ring": (_DISC, 0.55 * _DISC),
    "cross": (_cross(),),
}
CLASS_NAMES = tuple(SHAPES)
_LOOKALIKES = ((_DISC[:33],), (_regular(5),), (np.concatenate([_DISC[:49], np.zeros((1, 2))]),))


class Scene:
    """A canvas to which shapes are added, each in front of the previous ones.

    Args:
        size: side of the square image in pixels.
        style: see `SceneStyle`.
        rng: source of all random numbers.
    """

    def __init__(self, size: int, style: SceneStyle, rng: np.random.RandomState) -> None:
        self._size = size
        self._style = style
        self._rng = rng
        self._canvas = self._background()
        self._tone = self._canvas.mean(axis=(0, 1))
        self._labels: list[int] = []
        self._visible: list[np.ndarray] = []
        self._full_area: list[float] = []
        self._bounds: list[np.ndarray] = []

    def draw(self) -> tuple[np.ndarray, list[SceneObject]]:
        """Draw the scene.

        Returns:
            The image (size, size, 3), RGB uint8, and its objects.
        """
        style, rng = self._style, self._rng
        for _ in range(style.clutter):
            self._add_clutter()
        for _ in range(style.lookalikes):
            self._place(_LOOKALIKES[rng.randint(len(_LOOKALIKES))], label=None)
        if rng.uniform() >= style.empty_fraction:
            for _ in range(rng.randint(style.min_objects, style.max_objects + 1)):
                label = rng.randint(len(CLASS_NAMES))
                self._place(SHAPES[CLASS_NAMES[label]], label)
        noisy = self._canvas + rng.normal(0.0, style.noise, self._canvas.shape)
        return noisy.round().clip(0, 255).astype(np.uint8), self._objects()

    def _background(self) -> np.ndarray:
        """Generate smooth patches of colour, (size, size, 3)."""
        coarse = self._rng.uniform(-25, 25, (4, 4, 3)) + self._rng.uniform(50, 205, 3)
        planes = [Image.fromarray(coarse[..., c].astype(np.float32)) for c in range(3)]
        shape = (self._size, self._size)
        return np.stack([np.asarray(plane.resize(shape, Image.Resampling.BICUBIC)) for plane in planes], axis=-1)

    def _add_clutter(self) -> None:
        """Add a thin line or a speck, much smaller than any object, in a colour close to that of the background."""
        rng, size = self._rng, self._size
        x, y = rng.uniform(0, size, 2)
        if rng.uniform() < 0.5:
            angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.5) * size
            ahead = np.array([np.cos(angle), np.sin(angle)])
            aside = np.array([-ahead[1], ahead[0]]) * rng.uniform(0.002, 0.006) * size
            along = ahead * length
            outline = np.array([(x, y)]) + np.array([aside, aside + along, along - aside, -aside])
        else:
            outline = np.array([(x, y)]) + _regular(8) * rng.uniform(0.006, 0.016) * size
        self._paint(self._coverage((outline,)), self._tone + rng.uniform(-60, 60, 3))

    def _place(self, shape: tuple[np.ndarray, ...], label: int | None) -> None:
        """Add a shape where it does not hide too much of any labelled object; leave it out if there is no room."""
        limit = 1.0 - self._style.max_overlap
        for _ in range(PLACEMENT_TRIES):
            contours = self._random_pose(shape)
            coverage = self._coverage(contours)
            full = _polygon_area(contours)
            if coverage.sum() < limit * full:
                continue
            still_visible = [visible * (1.0 - coverage) for visible in self._visible]
            if any(mask.sum() < limit * area for mask, area in zip(still_visible, self._full_area, strict=True)):
                continue
            self._paint(coverage, self._object_color(coverage))
            self._visible = still_visible
            if label is not None:
                self._labels.append(label)
                self._visible.append(coverage)
                self._full_area.append(full)
                self._bounds.append(np.concatenate([contours[0].min(axis=0), contours[0].max(axis=0)]))
            return

    def _random_pose(self, shape: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        rng, style = self._rng, self._style
        radius = rng.uniform(style.min_size, style.max_size) * self._size / 2
        stretch = np.sqrt(rng.uniform(1.0, style.max_stretch))
        angle = rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        center = rng.uniform(0.5 * radius, self._size - 0.5 * radius, 2)
        return tuple((contour * (radius * stretch, radius / stretch)) @ turn + center for contour in shape)

    def _coverage(self, contours: tuple[np.ndarray, ...]) -> np.ndarray:
        """Rasterise contours to the covered fraction of every pixel, (size, size) in [0, 1]."""
        coverage = np.zeros((self._size, self._size), dtype=np.float32)
        low = np.floor(contours[0].min(axis=0)).clip(0, self._size - 1).astype(int)
        high = np.ceil(contours[0].max(axis=0)).clip(low + 1, self._size).astype(int)
        mask = Image.new("L", tuple((high - low) * SUPERSAMPLING))  # drawing the whole image takes 3 times as long
        draw = ImageDraw.Draw(mask)
        for contour, fill in zip(contours, (255, 0), strict=False):
            draw.polygon([tuple(point) for point in (contour - low) * SUPERSAMPLING - 0.5], fill=fill)
        window = np.asarray(mask.reduce(SUPERSAMPLING), dtype=np.float32) / 255
        coverage[low[1] : high[1], low[0] : high[0]] = window
        return coverage

    def _object_color(self, coverage: np.ndarray) -> np.ndarray:
        behind = np.einsum("hwc,hw->c", self._canvas, coverage) / max(coverage.sum(), 1e-6)
        color = self._rng.uniform(0, 255, 3)
        for _ in range(PLACEMENT_TRIES):
            if np.linalg.norm(color - behind) >= self._style.min_contrast:
                break
            color = self._rng.uniform(0, 255, 3)
        return color

    def _paint(self, coverage: np.ndarray, color: np.ndarray) -> None:
        ys, xs = np.nonzero(coverage)
        amount = coverage[ys, xs, None]
        self._canvas[ys, xs] = self._canvas[ys, xs] * (1 - amount) + color * amount

    def _objects(self) -> list[SceneObject]:
        objects = []
        for label, visible, full, bounds in zip(
            self._labels, self._visible, self._full_area, self._bounds, strict=True
        ):
            mask = visible >= 0.5
            ys, xs = np.nonzero(mask)
            x0, y0, x1, y1 = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
            if visible.sum() >= 0.99 * full:  # not occluded: the outline is more exact than whole pixels
                x0, y0, x1, y1 = bounds.clip(0, self._size)
            x, y, w, h = (round(float(value), 2) for value in (x0, y0, x1 - x0, y1 - y0))
            objects.append(SceneObject(label, (x, y, w, h), round(float(visible.sum()), 1), mask))
        return objects


def _polygon_area(contours: tuple[np.ndarray, ...]) -> float:
    """Compute the area of the outline minus its holes (shoelace formula)."""
    areas = []
    for contour in contours:
        x, y = contour[:, 0], contour[:, 1]
        areas.append(abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2)
    return areas[0] - sum(areas[1:])
