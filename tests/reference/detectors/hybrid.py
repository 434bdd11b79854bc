"""H-DETR (arXiv 2207.13080) by the options and parameter names of detrex, whose port has recordings."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.reference.detectors import parameters, postprocess, training
from tests.reference.detectors.decoder import DeformableDecoder
from tests.reference.detectors.deformable import DeformableDETR
from tests.reference.detectors.draws import Draws
from tests.reference.detectors.methods import Method, Options
from tests.reference.detectors.run import Objects, Run
from tests.reference.detectors.training import Criterion
from tests.reference.detectors.weights import Weights

NAMES = {  # those of the released codes, and detrex's
    r"level_embed$": "level_embeds",
    r"query_embed\.": "query_embedding.",
    r"(encoder\.layers\.\d+)\.self_attn": r"\1.attentions.0",
    r"(encoder\.layers\.\d+)\.norm1": r"\1.norms.0",
    r"(encoder\.layers\.\d+)\.norm2": r"\1.norms.1",
    r"(decoder\.layers\.\d+)\.self_attn": r"\1.attentions.0.attn",
    r"(decoder\.layers\.\d+)\.cross_attn": r"\1.attentions.1",
    r"(decoder\.layers\.\d+)\.norm2": r"\1.norms.0",  # detrex counts in the order of the steps
    r"(decoder\.layers\.\d+)\.norm1": r"\1.norms.1",
    r"(decoder\.layers\.\d+)\.norm3": r"\1.norms.2",
    r"linear1": "ffns.0.layers.0.0",
    r"linear2": "ffns.0.layers.1",
}


def detrex_name(name: str, maps: int) -> str:
    """Detrex's name of a parameter of the released codes, of a detector on so many maps."""
    if projection := re.match(r"input_proj\.(\d+)\.([01])", name):
        level, kind = int(projection[1]), ("conv", "norm")[int(projection[2])]
        place = f"convs.{level}" if level < maps else f"extra_convs.{level - maps}"
        return name.replace(projection[0], f"neck.{place}.{kind}")
    for pattern, replacement in NAMES.items():
        name = re.sub(pattern, replacement, name)
    return name


def official_options(options: Options) -> dict[str, Any]:
    """The sizes by the names of the released options."""
    transformer = options["transformer"]
    return {
        "hidden_dim": options["embed_dim"],
        "nheads": transformer["encoder"]["num_heads"],
        "num_feature_levels": transformer["num_feature_levels"],
        "enc_layers": transformer["encoder"]["num_layers"],
        "dec_layers": transformer["decoder"]["num_layers"],
        "enc_n_points": 4,  # no options there
        "dec_n_points": 4,
        "dim_feedforward": transformer["encoder"]["feedforward_dim"],
        "num_classes": options["num_classes"],
        "num_queries": options["num_queries_one2one"] + options["num_queries_one2many"],
        "two_stage": True,
        "mixed_selection": options["mixed_selection"],
    }


def shapes(options: Options, channels: list[int]) -> parameters.Shapes:
    """Of all parameters, by detrex's names."""
    official = parameters.deformable(official_options(options), channels)
    return {detrex_name(name, len(channels)): shape for name, shape in official.items()}


def h_detr(options: Options, constants: Options) -> Method:
    """H-DETR."""
    transformer, matcher = options["transformer"], options["criterion"]["matcher"]
    position = options["position_embedding"]
    decoder = DeformableDecoder(
        transformer["decoder"]["num_layers"], twice=transformer["decoder"]["look_forward_twice"], eps=1e-3
    )
    detector = DeformableDETR(
        levels=transformer["num_feature_levels"],
        heads=transformer["encoder"]["num_heads"],
        encoder_layers=transformer["encoder"]["num_layers"],
        decoder=decoder,
        queries=options["num_queries_one2one"],
        extra_queries=options["num_queries_one2many"],
        mixed=options["mixed_selection"],
        temperature=position["temperature"],
        offset=position["offset"],
    )
    criterion = Criterion(
        (matcher["cost_class"], matcher["cost_bbox"], matcher["cost_giou"]),
        options["criterion"]["alpha"],
        gamma=options["criterion"]["gamma"],
        cost_alpha=matcher["alpha"],
        cost_gamma=matcher["gamma"],
        eps=1e-6,
        terms=("loss_class", "loss_bbox", "loss_giou"),
    )

    def forward(
        weights: Weights, features: list[Tensor], padding: Tensor, targets: list[Objects] | None, draws: Draws
    ) -> tuple[Run, None]:
        channels = [one.shape[1] for one in features]
        names = parameters.deformable(official_options(options), channels)
        official = {name: weights[detrex_name(name, len(channels))] for name in names}
        return detector(Weights(official), features, padding, targets is not None), None

    return Method(
        forward=forward,
        supervise=lambda run, targets, draws, noised: training.hybrid(run, targets, criterion, options["k_one2many"]),
        detect=partial(_clipped, count=options["select_box_nums_for_evaluation"]),
        weights=_weights(options["criterion"]["weight_dict"], options),
        padding_in_evaluation=False,
    )


def _clipped(logits: Tensor, boxes: Tensor, size: tuple[int, int], count: int) -> postprocess.Detections:
    """Detections inside the image: Detectron2 clips them."""
    scores, labels, places = postprocess.top(logits, boxes, size, count)
    height, width = size
    return scores, labels, torch.minimum(places.clamp(min=0), torch.tensor([width, height, width, height]))


def _weights(given: Mapping[str, float], options: Mapping[str, Any]) -> dict[str, float]:
    """Those of the configuration, and by its lambda those of the further queries."""
    layers = options["transformer"]["decoder"]["num_layers"]
    found = {}
    for term in ("loss_class", "loss_bbox", "loss_giou"):
        found[f"{term}_enc"] = given[f"{term}_enc"]
        for suffix in ("", *(f"_{index}" for index in range(layers - 1))):
            found[f"{term}{suffix}"] = given[f"{term}{suffix}"]
            found[f"{term}{suffix}_one2many"] = given[f"{term}{suffix}"] * options["lambda_one2many"]
    return found
