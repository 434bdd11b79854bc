"""Examine the data of a config, or any COCO-format data set: wrong and unusual entries, and how training treats them.

querydet check-data --config-file CONFIG [key=value ...]
querydet check-data --annotations train.json --images images/

Finds gaps in the category ids, classes without objects, degenerate boxes, files that are missing, broken, equal or of
another size than annotated, boxes that contradict their outlines, outlines that are broken or missing, ids that count
from another number than their list, ignored regions, images that are empty or have more objects than the model has
queries, objects that are annotated twice, and test images that are trained on. The exit status is 1 when something
would stop the run. Outlines are only noted unless dataset.masks is True, or --masks is given.

querydet check-data --annotations train.json --images images/ --write-fixed train_fixed.json

also writes a file in which everything is repaired that has one possible meaning, and lists what that was and what is
left; the exit status is then that of the new file.
"""

import argparse
from collections.abc import Sequence

from querydet.cli.options import command_parser
from querydet.data.file_checks import FILE_CHECKS


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("check-data", __doc__)
    parser.add_argument("--config-file", help="a config with a dataloader; its training and its test set are examined")
    parser.add_argument("--annotations", help="instead of a config: a COCO json")
    parser.add_argument("--images", help="and its folder of images")
    parser.add_argument(
        "--files",
        choices=FILE_CHECKS,
        default="decode",
        help="how closely to look at image files: not at all, whether they exist, their size, every pixel (default)",
    )
    parser.add_argument(
        "--masks", action="store_true", help="with --annotations: as a run that uses masks (segmentation)"
    )
    parser.add_argument("--show", type=int, default=5, help="places to name of each finding (default %(default)s)")
    parser.add_argument("--json", help="also write everything, every place included, to this file")
    parser.add_argument("--write-fixed", metavar="FILE", help="repair what has one possible meaning, in a new file")
    parser.add_argument("overrides", nargs="*", help="changes of the config")
    args = parser.parse_args(argv)
    if bool(args.config_file) == bool(args.annotations) or bool(args.annotations) != bool(args.images):
        parser.error("give --config-file, or --annotations and --images")
    if args.masks and not args.annotations:
        parser.error("--masks goes with --annotations: in a config set dataloader.{train,test}.dataset.masks=True")
    if args.write_fixed and not args.annotations:
        parser.error("--write-fixed repairs one file: name it with --annotations and --images")
    return args
