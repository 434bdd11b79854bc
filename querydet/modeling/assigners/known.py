"""The assignment of denoising queries: each belongs to the object that it was made from."""

from querydet.structures import Assignment, PredictionSet, Targets


class KnownAssigner:
    """Returns the pairs that the query group carries (DN-DETR, arXiv 2203.01305, section 4.3)."""

    def __call__(self, predictions: PredictionSet, targets: Targets) -> tuple[Assignment, ...]:
        """Return the known assignment of each image.

        Raises:
            ValueError: when the group carries no pairs.
        """
        known = predictions.group.known
        if known is None:
            raise ValueError(
                f"{predictions.describe()} carry no known pairs: KnownAssigner is for denoising groups; select others "
                "with another rule"
            )
        return known
