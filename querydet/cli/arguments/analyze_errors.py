"""Analyse the errors in a detector's results: how many there are of each kind, and the AP that each kind costs.

    querydet errors RUN                                    # a run's folder: its results, its test set
    querydet errors results.json --config-file CONFIG [key=value ...]
    querydet errors results.json --annotations val.json --images val/
    querydet errors RUN --iou-type segm                    # compares masks

RESULTS is a file in COCO's results format, a list of image_id, category_id, bbox (x, y, width, height) and score, or
the folder of a run that has one (coco_instances_results.json, there or in inference/). An evaluation writes it when
dataloader.evaluator.output_dir names a folder. CONFIG is a LazyConfig file, a run's config.yaml, or the name of a
config that comes with querydet.

Every detection that is not right has one of TIDE's errors (arXiv 2008.08115, section 2), with the best IoU that it
reaches:

    localisation    the right class, but a poor box (IoU between 0.1 and 0.5)
    classification  a good box (IoU of at least 0.5), but the wrong class
    both            a poor box and the wrong class
    duplicate       right, but a better detection has found the object
    background      no object is there (IoU of at most 0.1)
    missed          an object that nothing found and that no better box or class would find

With --iou-type segm, the IoU and the size of a detection are those of its mask. The results need masks then
(segmentation, as run lengths), and so does the data set.

The cost of a kind is the AP that would be gained without it. Written to the output folder: errors.json with everything
(all sizes and classes, precision over recall, the confusion matrix, the worst images), and the pictures costs.png,
precision.png, confusion.png and worst.png.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("errors", __doc__)
    parser.add_argument("results", metavar="RESULTS", help="a results file, or the folder of a run")
    parser.add_argument("--config-file", help="whose test set the results are of (default: the run's config.yaml)")
    parser.add_argument("--annotations", help="instead of a config: a COCO json")
    parser.add_argument("--images", help="and its folder of images; without it no images are drawn")
    parser.add_argument("--output", help="folder to write to (default: errors/ beside the results file)")
    parser.add_argument(
        "--iou-type", choices=("bbox", "segm"), default="bbox", help="compare boxes or masks (default %(default)s)"
    )
    parser.add_argument(
        "--iou", type=float, default=0.5, help="IoU from which a detection has found an object (default %(default)s)"
    )
    parser.add_argument(
        "--background-iou", type=float, default=0.1, help="IoU up to which none is there (default %(default)s)"
    )
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.3,
        help="smallest score in the confusion matrix and the worst images; AP and costs take all (default %(default)s)",
    )
    parser.add_argument(
        "--max-dets", type=int, default=100, help="detections of an image and class that count (default %(default)s)"
    )
    parser.add_argument("--worst", type=int, default=12, help="images to draw, 0 for none (default %(default)s)")
    parser.add_argument("overrides", nargs="*", help="changes of the config")
    args = parser.parse_intermixed_args(argv)  # changes of the config may stand behind the options
    if args.annotations and (args.config_file or args.overrides):
        parser.error("give --config-file or --annotations, not both")
    if args.images and not args.annotations:
        parser.error("--images belongs to --annotations; with a config set dataloader.test.dataset.images=...")
    return args
