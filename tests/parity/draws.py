"""Noise of a whole batch, as the released codes draw it, for our denoising parts, which draw it image by image."""

from torch import Tensor

from querydet.modeling.queries.noised_objects import NoiseDraws
from querydet.structures import Targets


def split_draws(targets: Targets, *tables: Tensor) -> list[NoiseDraws]:
    """The noise of each image, from tables (repetitions, objects of the batch, ...) in the order of `NoiseDraws`."""
    return [NoiseDraws(*image) for image in zip(*(table.split(targets.counts, 1) for table in tables), strict=True)]
