"""Convert a published checkpoint to this project's names, or one of this project to the official names.

    querydet convert checkpoint0011_4scale.pth dino.pkl
    querydet train --config-file dino.yaml --eval-only train.init_checkpoint=dino.pkl

Known are the layouts of the official DINO, DN-DETR, DETA, MS-DETR, H-DETR, Deformable, Conditional (with groups), DAB-
and plain DETR, also with DETR's mask head, of Mask2Former, of detrex, and of Hugging Face's Deformable DETR and DETA:
docs/checkpoints.md. Every key of the source is mapped, found to be a copy, or dropped with a reason, and every weight
of the model is covered; anything else is an error. Beside DESTINATION (.pkl as in Detectron2's model zoo, or .pth) a
.safetensors file with the same weights is written, and a .yaml config that fits. No code of the source runs.
"""

import argparse
from collections.abc import Sequence

from querydet.checkpoint.conversion.families import FAMILIES
from querydet.cli.options import command_parser

FORMATS = {family.name.lower().replace(", ", "-").replace(" ", ""): family for family in FAMILIES}


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("convert", __doc__)
    parser.add_argument("source", help="a file, an address (https://, detectron2://), or a Hugging Face folder")
    parser.add_argument("destination", help="file to write: .pkl, .pth or .safetensors")
    parser.add_argument("--format", choices=["auto", *FORMATS], default="auto", help="layout (default: by the keys)")
    parser.add_argument("--to", choices=["querydet", "official"], default="querydet", help="whose names to write")
    parser.add_argument("--select-coco-classes", action="store_true", help="of 91 outputs keep COCO's 80 classes")
    parser.add_argument("--ema", action="store_true", help="take the moving average of the weights")
    parser.add_argument("--config-file", help="check the weights against this config instead of choosing one")
    parser.add_argument("--num-queries", type=int, help="of the primary group, where the file does not tell")
    parser.add_argument("--num-heads", type=int, help="of the attentions, where the file does not tell (else 8)")
    parser.add_argument("--temperature", type=float, help="of the position embedding, where a code base used several")
    parser.add_argument("--offset", type=float, help="of the position embedding, where a code base used several")
    parser.add_argument(
        "--trust", action="store_true", help="run whatever code the source holds: for old files of your own"
    )
    parser.add_argument("--allow-nonfinite", action="store_true", help="convert also NaN and infinite weights")
    parser.add_argument("overrides", nargs="*", help="changes of --config-file, such as model.num_classes=3")
    return parser.parse_args(argv)
