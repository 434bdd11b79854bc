"""Selection of COCO's 80 classes from the 91 outputs of the official code bases.

The official code uses COCO's category ids 0 to 90 as class indices; eleven of them belong to no category.
"""

import re
from collections.abc import Mapping

import torch
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES
from torch import Tensor

NUM_IDS = 91
UNUSED = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(identifier for identifier in range(NUM_IDS) if identifier not in UNUSED)
COCO_NAMES = tuple(category["name"] for category in COCO_CATEGORIES if category["isthing"])
_HEADS = re.compile(r"heads\.(class_head|(class_heads|one_to_many_heads\.class)\.\d+)\.(weight|bias)")
_PROPOSALS = re.compile(r"selection\.(proposals|extra_proposals\.\d+)\.class_head\.(weight|bias)")
LABELS = "denoising.label_embed.weight"


def select_coco_classes(state: Mapping[str, Tensor], objectness: bool, no_object: bool = False) -> dict[str, Tensor]:
    """Keep the rows of COCO's 80 classes in every weight that has a row for each class.

    * Class heads of decoder layers, and of an encoder that predicts classes: the rows of the 80 ids.
    * Class heads of an encoder that predicts objectness only: the first 80 rows. Row 0 is the objectness, and the
      others were never trained.
    * The label embedding of denoising queries: the rows of the 80 ids, and its additional row for no class.

    Args:
        state: weights under our names.
        objectness: whether the encoder's class head is binary.
        no_object: whether class heads have a last row for no object, which is kept (DETR, Mask2Former).

    Raises:
        ValueError: the weights do not have 91 classes.
    """
    ids = torch.tensor(COCO_IDS)
    selected = dict(state)
    for name, value in state.items():
        head, proposal = _HEADS.fullmatch(name), _PROPOSALS.fullmatch(name)
        if head or proposal:
            wanted, found = NUM_IDS + bool(head and no_object), len(value) if value.dim() else 0
            if found != wanted:
                raise ValueError(
                    f"COCO's 80 classes can be selected from {wanted} outputs, but {name} has {found}: leave out "
                    "--select-coco-classes"
                )
            rows = torch.cat([ids, torch.arange(NUM_IDS, wanted)])
            selected[name] = value[: len(ids)].clone() if proposal and objectness else value[rows]
        elif name == LABELS:
            rows = torch.cat([ids, torch.arange(NUM_IDS, len(value))])
            selected[name] = value[rows]
    return selected
