"""An input of Detectron2's augmentations that none of them makes larger than any detector is trained or tested on."""

from detectron2.data import transforms as T
from detectron2.data.transforms.transform import ExtentTransform, RotationTransform

from querydet.utils.targets import everything_is_allowed, how_to_allow_everything

MAX_PIXELS = 25_000_000  # ours: 14 times COCO's largest, 1333 x 1333; ResNet-50 takes about 6 GB for its maps


class BoundedInput(T.AugInput):
    """An image whose transforms are looked at before they are applied."""

    def transform(self, tfm: T.Transform) -> None:
        """Apply a transform in place.

        Raises:
            ValueError: it makes an image of more than `MAX_PIXELS` pixels from one of fewer.
        """
        height, width = self.image.shape[:2]
        for part in tfm.transforms if isinstance(tfm, T.TransformList) else [tfm]:
            before = height * width
            height, width = _size_after(part, height, width)
            if height * width > max(before, MAX_PIXELS) and not everything_is_allowed():
                raise ValueError(
                    f"{type(part).__name__} makes an image of {width} x {height} pixels, more than {MAX_PIXELS:,}: "
                    "lower the sizes in dataloader.{train,test}.mapper.augmentations or train.test_time_augmentation; "
                    f"{how_to_allow_everything()}"
                )
        super().transform(tfm)


def _size_after(transform: T.Transform, height: int, width: int) -> tuple[int, int]:
    """Return the size (height, width) of an image after a transform; unknown ones change nothing."""
    if isinstance(transform, T.ResizeTransform):
        return transform.new_h, transform.new_w
    if isinstance(transform, ExtentTransform):
        return transform.output_size[0], transform.output_size[1]
    if isinstance(transform, RotationTransform):
        return transform.bound_h, transform.bound_w
    if isinstance(transform, T.PadTransform):
        return height + transform.y0 + transform.y1, width + transform.x0 + transform.x1
    if isinstance(transform, T.CropTransform):
        return min(transform.h, height), min(transform.w, width)
    return height, width
