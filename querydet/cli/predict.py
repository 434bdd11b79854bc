"""Run a trained detector on images, folders and videos.

    querydet predict --config-file CONFIG --weights model_final.pth --input photos/ clip.mp4 --output out/

Draws labelled boxes and masks (``out/<name>``; videos as mp4) and writes all detections to ``out/detections.json``,
COCO format, with masks as run lengths (``segmentation``).
"""

import argparse
import logging
import os
from collections.abc import Sequence

from detectron2.utils.logger import setup_logger
from PIL import Image

from querydet.cli.options import command_parser
from querydet.data.media import MediaFile, VideoSink, find_media, read_video, unused_name, video_fps
from querydet.evaluation import CocoWriter
from querydet.inference.predictor import Predictor
from querydet.utils.precisions import PRECISIONS
from querydet.visualization import draw_instances

logger = logging.getLogger("querydet.predict")


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("predict", __doc__)
    parser.add_argument("--config-file", required=True, help="the config that the model was trained with")
    parser.add_argument("--weights", required=True, help="checkpoint to load")
    parser.add_argument("--input", required=True, nargs="+", help="images, folders of images, videos")
    parser.add_argument("--output", required=True, help="folder for pictures and detections.json")
    parser.add_argument("--threshold", type=float, default=0.3, help="smallest score to keep (default %(default)s)")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="auto: bfloat16 where this machine computes faster in it (default %(default)s)",
    )
    parser.add_argument(
        "--classes",
        help="class names, separated by commas; default: those in the checkpoint, or of the config's test data",
    )
    parser.add_argument("overrides", nargs="*", help="changes of the config, such as train.device=cpu")
    return parser.parse_args(argv)


def output_paths(folder: str, inputs: Sequence[MediaFile]) -> list[str]:
    """Return the paths of the drawn files; no two are equal.

    Raises:
        ValueError: one would overwrite an input.
    """
    names: list[str] = []
    for media in inputs:
        known = (".mp4",) if media.is_video else (".jpg", ".jpeg", ".png")
        name = media.name if media.name.lower().endswith(known) else media.name + known[-1]
        names.append(unused_name(name, names))
    paths = [os.path.join(folder, name) for name in names]
    taken = {os.path.realpath(media.path): media.path for media in inputs}
    for path in paths:
        if os.path.realpath(path) in taken:
            raise ValueError(
                f"--output would overwrite the input {taken[os.path.realpath(path)]}: choose another folder"
            )
        os.makedirs(os.path.dirname(path), exist_ok=True)
    return paths


def predict_image(media: MediaFile, path: str, predictor: Predictor, writer: CocoWriter) -> None:
    """Detect on one image, draw it and add its detections to the json."""
    image = predictor.read(media.path)
    instances = predictor(image)
    writer.add(media.name, instances)
    Image.fromarray(draw_instances(image, instances, predictor.class_names)).save(path)
    logger.info("%s: %d detections -> %s", media.path, len(instances), path)


def predict_video(media: MediaFile, path: str, predictor: Predictor, writer: CocoWriter) -> None:
    """Detect on every frame; the json has an image for each, named ``clip.mp4#000001`` and so on."""
    sink = VideoSink(path, video_fps(media.path))
    count = 0
    try:
        for count, frame in enumerate(read_video(media.path), start=1):
            instances = predictor(frame)
            writer.add(f"{media.name}#{count:06d}", instances)
            sink.write(draw_instances(frame, instances, predictor.class_names))
    finally:
        sink.close()
    if not count:
        raise ValueError(f"OpenCV reads no frames from {media.path}")
    logger.info("%s: %d frames -> %s", media.path, count, path)


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
        overrides=args.overrides,
    )
    writer = CocoWriter(predictor.class_names, predictor.category_ids)
    failed = []
    try:
        for media, path in zip(inputs, outputs, strict=True):
            try:
                (predict_video if media.is_video else predict_image)(media, path, predictor, writer)
            # ImportError: videos need OpenCV
            except (OSError, ValueError, SyntaxError, ImportError, Image.DecompressionBombError) as error:
                logger.error("%s cannot be used: %s", media.path, error)
                failed.append(media.path)
    finally:  # also when the run is interrupted
        writer.save(os.path.join(args.output, "detections.json"))
    if failed:
        logger.error("%d of %d inputs failed: %s", len(failed), len(inputs), ", ".join(failed))
    return 1 if failed else 0
