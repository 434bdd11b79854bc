"""DETR's mask head in the recorded configurations: in its own wiring, and in that of MS-DETR's repository."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from querydet.checkpoint.conversion.convert import convert_state_dict
from querydet.checkpoint.conversion.families import OFFICIAL_MASKS
from querydet.checkpoint.conversion.names import Sizes
from querydet.mask_structures import ImageMasks
from querydet.modeling.masks import AttentionMapHead
from querydet.structures import ImageFeatures, PredictionSet, QueryGroup, Stage, TokenPyramid
from tests.parity.fixture import Fixture
from tests.parity.options import check_all_read, check_recording

WIRINGS = {"ms_detr": True, "detr": False}  # whether convolutions halve the backbone maps
HEAD = "masks.head."


def build(fixture: Fixture, source: str = "projected") -> AttentionMapHead:
    """Our head with the recorded configuration and weights."""
    config = fixture.config
    check_recording(fixture.description.get("fixture_cfg") or {})
    if config["wiring"] not in WIRINGS:
        raise KeyError(f"cannot express wiring={config['wiring']!r}")
    channels = {name: value.shape[1] for name, value in fixture.features().items()}
    if list(channels.values()) != list(config["feat_channels"]):
        raise KeyError(f"feat_channels={config['feat_channels']}, but the maps have {channels}")
    height = fixture["in/pad_mask"].shape[1]
    maps = [*fixture.features().values(), fixture["in/src"]]
    for stride, values in zip([*config["feat_strides"], config["src_stride"]], maps, strict=True):
        if values.shape[-2] != -(-height // stride):
            raise KeyError(f"stride {stride}, but a map has {values.shape[-2]} rows of {height} pixels")
    head = AttentionMapHead(
        in_channels=dict(reversed(channels.items())),
        embed_dim=config["hidden_dim"],
        num_heads=config["nheads"],
        level=-1,
        halve=WIRINGS[config["wiring"]],
        source=source,
        ignore_padding=False,  # the released codes let it in
    )
    state = convert_state_dict(fixture.group("state/"), OFFICIAL_MASKS).state
    head.load_state_dict({name.removeprefix(HEAD): value for name, value in state.items()}, strict=True)
    for key in ("num_classes", "num_queries", "topk_eval"):  # of what the tests of detections and losses read
        config[key]
    check_all_read(config, ())
    return head


def our_name(name: str) -> str:
    """Our name of a recorded weight, in the head."""
    ours = OFFICIAL_MASKS.our_name(name, Sizes(0, 0, False))
    assert ours is not None, name
    return ours.removeprefix(HEAD)


@dataclass(frozen=True)
class Inputs:
    """What the head reads: a projected and an encoded map, hidden states, and backbone maps."""

    source: Tensor
    memory: Tensor
    hidden: Tensor
    maps: Mapping[str, Tensor]

    @classmethod
    def of(cls, fixture: Fixture, leaves: bool = False) -> "Inputs":
        def leaf(value: Tensor) -> Tensor:
            return value.clone().requires_grad_() if leaves else value

        names = ("in/src", "in/memory", "in/hidden")
        maps = {name: leaf(value) for name, value in fixture.features().items()}
        return cls(*(leaf(fixture[name]) for name in names), maps=maps)

    def gradient(self, name: str) -> Tensor | None:
        return {"src": self.source, "memory": self.memory, "hidden": self.hidden}[name].grad


def masks_of(head: AttentionMapHead, fixture: Fixture, inputs: Inputs) -> ImageMasks:
    """What makes the masks of the recorded batch."""
    pyramids = [_one_level(values, fixture["in/padding"]) for values in (inputs.source, inputs.memory)]
    return head(ImageFeatures(dict(inputs.maps), fixture["in/pad_mask"], *pyramids))


def _one_level(values: Tensor, padding: Tensor) -> TokenPyramid:
    images, channels, height, width = values.shape
    return TokenPyramid(
        tokens=values.flatten(2).transpose(1, 2),
        position=torch.zeros(images, height * width, channels),
        padding=padding.flatten(1),
        shapes=((height, width),),
        valid_ratios=torch.ones(images, 1, 2),
    )


def last_layer(
    fixture: Fixture, masks: ImageMasks | None = None, branch: str = "", hidden: Tensor | None = None
) -> PredictionSet:
    """The recorded predictions of the last layer; branch "o2m/" for the one-to-many ones."""
    boxes, logits = fixture[f"in/{branch}pred_boxes"], fixture[f"in/{branch}pred_logits"]
    return PredictionSet(
        stage=Stage.DECODER,
        layer=0,
        is_last=True,
        group=QueryGroup("primary", 0, logits.shape[1]),
        logits=logits,
        boxes=boxes,
        start_boxes=boxes,
        hidden=fixture[f"in/{branch}hidden"] if hidden is None else hidden,
        masks=masks,
    )
