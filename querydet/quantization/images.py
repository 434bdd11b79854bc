"""Images to calibrate with: some of the training data of a config, or of a folder."""

from collections.abc import Iterator, Sequence
from typing import Any

from querydet.data.media import find_media
from querydet.inference.predictor import Predictor
from querydet.utils.lazy import instantiate


def spread(count: int, wanted: int) -> list[int]:
    """Return the places of `wanted` of `count` things, evenly spread; of all of them where there are fewer."""
    return [index * count // wanted for index in range(wanted)] if wanted < count else list(range(count))


class CalibrationImages:
    """Images as the detector gets them in a prediction, one after the other.

    Args:
        predictor: reads and resizes the images.
        config: complete config, whose training data are taken.
        folders: images and folders of images to take instead; none: the training data.
        count: number of images; they are spread over those that there are.

    Raises:
        FileNotFoundError: the training data, or a file, are not there.
        ValueError: there are no images.
    """

    def __init__(self, predictor: Predictor, config: Any, folders: Sequence[str], count: int) -> None:
        self.predictor = predictor
        if folders:
            self.images: Sequence[Any] = [media.path for media in find_media(folders) if not media.is_video]
        elif config.dataloader.get("train") is None:
            raise ValueError("the config has no training data to calibrate with: name images with --data")
        else:
            self.images = instantiate(config.dataloader.train.dataset)
        self.places = spread(len(self.images), count)
        if not self.places:
            raise ValueError("there are no images to calibrate with: name some with --data")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.places)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of one image."""
        for place in self.places:
            image = self.images[place]
            read = self.predictor.read if isinstance(image, str) else self.predictor.read_record
            yield [self.predictor.prepare(read(image))]
