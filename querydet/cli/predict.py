"""``querydet predict``, whose options are in `querydet.cli.arguments.predict`."""

import logging
import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby

import numpy as np
from detectron2.utils.logger import setup_logger
from PIL import Image

from querydet.cli.arguments.predict import parse_arguments
from querydet.data.media import READ_ERRORS, MediaFile, VideoSink, find_media, read_video, unused_name, video_fps
from querydet.evaluation import CocoWriter
from querydet.inference.predictor import Predictor
from querydet.inference.streaming import Prediction
from querydet.utils.ahead import iterate_ahead, map_ahead
from querydet.visualization import draw_instances

logger = logging.getLogger("querydet.predict")

WRITERS = 2  # threads that draw and encode pictures; ours: as many as there are cores on the smallest machine
WAITING = 4  # pictures, or frames of a video, that are ready before they are used
Job = tuple[MediaFile, str]  # an input and the path of its picture


def output_paths(folder: str, inputs: Sequence[MediaFile]) -> list[str]:
    """Return the paths of the drawn files; no two are equal.

    Raises:
        ValueError: one would overwrite an input.
    """
    names: dict[str, None] = {}  # in order, and quick to look up
    for media in inputs:
        known = (".mp4",) if media.is_video else (".jpg", ".jpeg", ".png")
        name = media.name if media.name.lower().endswith(known) else media.name + known[-1]
        names[unused_name(name, names)] = None
    paths = [os.path.join(folder, name) for name in names]
    taken = {os.path.realpath(media.path): media.path for media in inputs}
    for path in paths:
        if os.path.realpath(path) in taken:
            raise ValueError(
                f"--output would overwrite the input {taken[os.path.realpath(path)]}: choose another folder"
            )
        os.makedirs(os.path.dirname(path), exist_ok=True)
    return paths


def predict_images(jobs: Sequence[Job], predictor: Predictor, writer: CocoWriter) -> list[str]:
    """Detect on images, draw them and add their detections to the json; return the paths of those that failed."""
    failed = []

    def found() -> Generator[tuple[Job, Prediction[str]], None, None]:
        with closing(predictor.stream(media.path for media, _ in jobs)) as predictions:
            for job, prediction in zip(jobs, predictions, strict=True):
                yield job, _added(prediction, job[0].name, writer)

    def draw(item: tuple[Job, Prediction[str]]) -> tuple[Job, int | Exception]:
        job, prediction = item
        try:
            return job, save_picture(job[1], prediction, predictor.class_names)
        except Exception as error:
            return job, error

    with closing(map_ahead(draw, found(), threads=WRITERS, ahead=WAITING)) as drawn:
        for (media, path), outcome in drawn:
            if isinstance(outcome, Exception):
                _say_failed(media, outcome)
                failed.append(media.path)
            else:
                logger.info("%s: %d detections -> %s", media.path, outcome, path)
    return failed


def save_picture(path: str, prediction: Prediction[str], class_names: Sequence[str]) -> int:
    """Draw the detections on an image and write it; return their number.

    Raises:
        Exception: the error of the prediction, or one of drawing or writing.
    """
    instances = prediction.detections()
    assert prediction.pixels is not None
    picture = Image.fromarray(draw_instances(prediction.pixels, instances, class_names))
    picture.save(path, compress_level=1)  # of PNG: several times faster, some percent larger
    return len(instances)


def predict_videos(jobs: Sequence[Job], predictor: Predictor, writer: CocoWriter) -> list[str]:
    """Detect on videos one after the other; return the paths of those that failed."""
    failed = []
    for media, path in jobs:
        try:
            predict_video(media, path, predictor, writer)
        except Exception as error:
            _say_failed(media, error)
            failed.append(media.path)
    return failed


def predict_video(media: MediaFile, path: str, predictor: Predictor, writer: CocoWriter) -> None:
    """Detect on every frame; the json has an image for each, named ``clip.mp4#000001`` and so on."""
    sink = VideoSink(path, video_fps(media.path))

    def found() -> Generator[Prediction[np.ndarray], None, None]:
        with (
            closing(iterate_ahead(read_video(media.path), ahead=WAITING)) as frames,
            closing(predictor.stream(frames)) as predictions,
        ):
            for number, prediction in enumerate(predictions, start=1):
                writer.add(f"{media.name}#{number:06d}", prediction.detections())
                yield prediction

    def draw(prediction: Prediction[np.ndarray]) -> None:
        assert prediction.pixels is not None
        sink.write(draw_instances(prediction.pixels, prediction.detections(), predictor.class_names))

    try:
        with closing(map_ahead(draw, found(), threads=1, ahead=WAITING)) as drawn:
            count = sum(1 for _ in drawn)
    finally:
        sink.close()
    if not count:
        raise ValueError(f"OpenCV reads no frames from {media.path}")
    logger.info("%s: %d frames -> %s", media.path, count, path)


def _added(prediction: Prediction[str], name: str, writer: CocoWriter) -> Prediction[str]:
    """Add the detections of an image to the json; return the prediction, with the error if that fails."""
    if prediction.instances is not None:
        try:
            writer.add(name, prediction.instances)
        except Exception as error:
            return replace(prediction, error=error)
    return prediction


def _say_failed(media: MediaFile, error: Exception) -> None:
    expected = isinstance(error, (*READ_ERRORS, ImportError))  # ImportError: videos need OpenCV
    logger.error("%s cannot be used: %s", media.path, error if expected else f"{type(error).__name__}: {error}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 1 if a file could not be read, after all others were processed."""
    args = parse_arguments(argv)
    setup_logger(name="querydet")
    inputs = find_media(args.input)
    outputs = output_paths(args.output, inputs)
    given = [name.strip() for name in args.classes.split(",")] if args.classes else None
    predictor = Predictor(
        args.config_file,
        args.weights,
        threshold=args.threshold,
        class_names=given,
        precision=args.precision,
        batch_size=args.batch_size,
        overrides=args.overrides,
    )
    writer = CocoWriter(predictor.class_names, predictor.category_ids, args.output)
    failed: list[str] = []
    jobs = zip(inputs, outputs, strict=True)
    try:
        for is_video, group in groupby(jobs, key=lambda job: job[0].is_video):
            if is_video:
                failed += predict_videos(list(group), predictor, writer)
            else:
                failed += predict_images(list(group), predictor, writer)
    finally:  # also when the run is interrupted
        writer.save(os.path.join(args.output, "detections.json"))
    if failed:
        logger.error("%d of %d inputs failed: %s", len(failed), len(inputs), ", ".join(failed))
    return 1 if failed else 0
