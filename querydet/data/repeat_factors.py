"""Repeat factors: images of rare classes come several times in an epoch.

Source: Gupta et al., LVIS (arXiv 1908.03195, appendix B.2). With `f` the part of the images that have a class, the
factor of the class is `max(1, (threshold / f) ** power)`, and that of an image the largest of its classes.
"""

import math
from typing import Any

import numpy as np

from querydet.data.class_counts import count_images, image_classes

THRESHOLD = 0.001  # LVIS, appendix B.2: classes of fewer than one image in a thousand are repeated


class RepeatFactors:
    """Computes the repeat factors of a training data set, for `build_train_loader(repeat=...)`.

    Args:
        threshold: part of the images below which a class is repeated, in (0, 1].
        power: exponent of how much more often; 0.5 in the paper.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(self, *, threshold: float = THRESHOLD, power: float = 0.5) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"the threshold of repeat factors is a part of the images in (0, 1], got {threshold!r}")
        if not 0 <= power < math.inf:
            raise ValueError(f"the power of repeat factors has to be at least 0, got {power!r}")
        self.threshold, self.power = float(threshold), float(power)

    def __call__(self, dataset: Any) -> np.ndarray:
        """Return the factor of each of N images, (N,) float64, at least 1; 1 for an image without objects."""
        starts, classes = image_classes(dataset)
        counts = count_images(classes, int(classes.max(initial=-1)) + 1)
        factors = np.ones(len(starts) - 1)
        filled = starts[1:] > starts[:-1]
        if filled.any():
            factors[filled] = np.maximum.reduceat(self.of_classes(counts, len(factors))[classes], starts[:-1][filled])
        return factors

    def of_classes(self, counts: np.ndarray, num_images: int) -> np.ndarray:
        """Return the factor of each class (K,) from the number of images that have it; 1 for a class that none has."""
        frequency = np.maximum(counts, 1) / num_images
        return np.where(counts > 0, np.maximum(1.0, (self.threshold / frequency) ** self.power), 1.0)
