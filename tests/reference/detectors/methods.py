"""The methods by the options of their released codes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from tests.reference.detectors import postprocess, training
from tests.reference.detectors.anchors import AnchorDETR
from tests.reference.detectors.conditional import GroupConditionalDETR
from tests.reference.detectors.decoder import AnchorDecoder, DeformableDecoder
from tests.reference.detectors.deformable import DeformableDETR
from tests.reference.detectors.denoising import Noised
from tests.reference.detectors.draws import Draws
from tests.reference.detectors.levelwise import LevelwiseDETR
from tests.reference.detectors.run import Objects, Run
from tests.reference.detectors.training import Criterion, Overlap
from tests.reference.detectors.weights import Weights

Options = Mapping[str, Any]
Objectives = list[Objects] | None
Forward = Callable[[Weights, list[Tensor], Tensor, Objectives, Draws], tuple[Run, Noised | None]]


@dataclass
class Method:
    """A method of some options.

    Args:
        forward: computes predictions, and with objects those of training.
        supervise: adds matches and losses to a run in training.
        detect: makes detections of the last layer of an image.
        weights: of the losses, by name.
        padding_in_evaluation: whether evaluation knows of the padding.
    """

    forward: Forward
    supervise: Callable[[Run, list[Objects], Draws, Noised | None], None]
    detect: Callable[[Tensor, Tensor, tuple[int, int]], postprocess.Detections]
    weights: dict[str, float] = field(default_factory=dict)
    padding_in_evaluation: bool = True


def _costs(options: Options) -> tuple[float, float, float]:
    return options["set_cost_class"], options["set_cost_bbox"], options["set_cost_giou"]


def _weights(options: Options, suffixes: Mapping[str, str], dec_layers: int) -> dict[str, float]:
    """Weights of the three losses of every kind: its suffix, and what the names of its options start with."""
    found = {}
    for suffix, prefix in suffixes.items():
        layers = ["", *(f"_{index}" for index in range(dec_layers - 1))] if suffix in ("", "_dn", "_o2m") else [""]
        for term, option in (("ce", "cls"), ("bbox", "bbox"), ("giou", "giou")):
            for layer in layers:
                name = f"loss_{term}{layer}{suffix}" if suffix == "_o2m" else f"loss_{term}{suffix}{layer}"
                found[name] = float(options[f"{prefix}{option}_loss_coef"])
    return found


def _transformer(options: Options, decoder: DeformableDecoder, **changes: Any) -> DeformableDETR:
    return DeformableDETR(
        levels=options["num_feature_levels"],
        heads=options["nheads"],
        encoder_layers=options["enc_layers"],
        decoder=decoder,
        queries=options["num_queries"],
        mixed=options.get("mixed_selection", False),
        **changes,
    )


def _without_noise(detector: Callable[[Weights, list[Tensor], Tensor, bool], Run]) -> Forward:
    def forward(
        weights: Weights, features: list[Tensor], padding: Tensor, targets: Objectives, draws: Draws
    ) -> tuple[Run, None]:
        return detector(weights, features, padding, targets is not None), None

    return forward


def deformable(options: Options, constants: Options) -> Method:
    """Deformable DETR of one or two stages, and its ++ by H-DETR."""
    two_stage = options["two_stage"]
    decoder = DeformableDecoder(
        options["dec_layers"], refine=options["with_box_refine"], twice=options.get("look_forward_twice", False)
    )
    criterion = Criterion(_costs(options), options["focal_alpha"])
    return Method(
        forward=_without_noise(_transformer(options, decoder, two_stage=two_stage)),
        supervise=lambda run, targets, draws, noised: training.deformable(run, targets, criterion),
        detect=partial(postprocess.top, count=options.get("topk_eval", 100)),
        weights=_weights(options, {"": "", "_enc": ""} if two_stage else {"": ""}, options["dec_layers"]),
    )


def ms_detr(options: Options, constants: Options, *, implementation: str = "c") -> Method:
    """MS-DETR: of its implementations (a) and (c), figure 4."""
    split = {"order": ("ca", "sa", "ffn"), "one_to_many": "ca", "extra_ffn": options.get("use_aux_ffn", False)}
    plain = {"one_to_many": "ffn", "own_classes": True}
    decoder = DeformableDecoder(
        options["dec_layers"],
        twice=options.get("look_forward_twice", False),
        **(plain if implementation == "a" else split),
    )
    criterion = Criterion(_costs(options), options["focal_alpha"])
    assignment = {
        "threshold": constants.get("o2m_matcher_threshold", 0.4),
        "most": constants.get("o2m_matcher_k", 6),
        "merge": constants.get("use_indices_merge", False),
    }
    return Method(
        forward=_without_noise(_transformer(options, decoder)),
        supervise=lambda run, targets, draws, noised: training.ms_detr(run, targets, criterion, draws, **assignment),
        detect=partial(postprocess.top, count=options["topk_eval"]),
        weights=_weights(options, {"": "", "_o2m": "o2m_", "_enc": "enc_"}, options["dec_layers"]),
    )


def deta(options: Options, constants: Options) -> Method:
    """DETA, its improved baseline, and what is between them; the constants are literals in the released code."""
    numbers = DETA_CONSTANTS | dict(constants)
    first = Overlap(*(numbers[f"stage1_{name}"] for name in ("low", "high", "k", "samples", "fraction")))
    high = numbers["stage2_threshold"]
    second = Overlap(high, high, numbers["stage2_k"], None, numbers["stage2_fraction"])
    suppression = (numbers["pre_nms_topk"], numbers["nms_iou"]) if options["assign_first_stage"] else None
    chosen = first if options["assign_first_stage"] else None, second if options["assign_second_stage"] else None
    criterion = Criterion(_costs(options), options["focal_alpha"])
    detect: Any = partial(postprocess.top, count=100)
    if options["assign_second_stage"]:
        detect = partial(postprocess.suppressed, count=numbers["post_keep"], threshold=numbers["post_nms_iou"])
    decoder = DeformableDecoder(options["dec_layers"])
    return Method(
        forward=_without_noise(_transformer(options, decoder, pixels=True, suppression=suppression)),
        supervise=lambda run, targets, draws, noised: training.deta(run, targets, criterion, draws, *chosen),
        detect=detect,
        weights=_weights(options, {"": "", "_enc": ""}, options["dec_layers"]),
    )


DETA_CONSTANTS = {
    "stage1_low": 0.3,
    "stage1_high": 0.7,
    "stage1_k": 4,
    "stage1_samples": 256,
    "stage1_fraction": 0.5,
    "stage2_threshold": 0.6,
    "stage2_k": 4,
    "stage2_fraction": 0.25,
    "pre_nms_topk": 1000,
    "nms_iou": 0.9,
    "post_nms_iou": 0.7,
    "post_keep": 100,
}


def dino(options: Options, constants: Options) -> Method:
    """DINO."""
    decoder = AnchorDecoder(
        options["dec_layers"],
        output_norm=True,
        scale=False,
        twice=not options["use_detached_boxes_dec_out"],
        order=tuple(options["decoder_module_seq"]),
    )
    detector = AnchorDETR(
        levels=options["num_feature_levels"],
        heads=options["nheads"],
        encoder_layers=options["enc_layers"],
        decoder=decoder,
        queries=options["num_queries"],
        classes=options["num_classes"],
        two_stage=True,
        learned=options["embed_init_tgt"],
        groups=options["dn_number"],
        label_noise=options["dn_label_noise_ratio"],
        box_noise=options["dn_box_noise_scale"],
        temperature=options["pe_temperatureH"],
        offset=0.0,
    )
    alpha = options["focal_alpha"]
    criterion = Criterion(_costs(options), alpha, cost_alpha=alpha, eps=1e-6)
    weights = _weights(options, {"": "", "_dn": "", "_interm": ""}, options["dec_layers"])
    for name in weights:
        weights[name] *= options["interm_loss_coef"] if name.endswith("_interm") else 1
    return Method(
        forward=detector,
        supervise=lambda run, targets, draws, noised: training.dino(run, targets, criterion, noised),
        detect=partial(postprocess.top, count=options["num_select"]),
        weights=weights,
    )


def dn_detr(options: Options, constants: Options) -> Method:
    """DN-DETR on DAB-Deformable-DETR."""
    detector = AnchorDETR(
        levels=options["num_feature_levels"],
        heads=options["nheads"],
        encoder_layers=options["enc_layers"],
        decoder=AnchorDecoder(options["dec_layers"], output_norm=False, scale=True, twice=False),
        queries=options["num_queries"],
        classes=options["num_classes"],
        two_stage=False,
        groups=options["scalar"],
        label_noise=options["label_noise_scale"],
        box_noise=options["box_noise_scale"],
        temperature=10000.0,
        offset=-0.5,
    )
    criterion = Criterion(_costs(options), options["focal_alpha"], eps=1e-6)
    weights = _weights(options, {"": ""}, options["dec_layers"])
    return Method(
        forward=detector,
        supervise=lambda run, targets, draws, noised: training.dn_detr(run, targets, criterion, noised),
        detect=partial(postprocess.top, count=100),
        weights=weights | {f"tgt_{name}": value for name, value in weights.items()},
    )


def dn_deformable_encoder(options: Options, constants: Options) -> Method:
    """DN-DETR with a deformable encoder and attention to one level after the other."""
    detector = LevelwiseDETR(
        levels=options["num_feature_levels"],
        heads=options["nheads"],
        encoder_layers=options["enc_layers"],
        decoder_layers=options["dec_layers"],
        queries=options["num_queries"],
        patterns=options["num_patterns"],
        classes=options["num_classes"],
        groups=options["scalar"],
        label_noise=options["label_noise_scale"],
        box_noise=options["box_noise_scale"],
        temperatures=(options["pe_temperatureH"], options["pe_temperatureW"]),
    )
    alpha = options["focal_alpha"]
    criterion = Criterion(_costs(options), alpha, cost_alpha=alpha, eps=1e-6)
    weights = _weights(options, {"": ""}, options["dec_layers"])
    return Method(
        forward=detector,
        supervise=lambda run, targets, draws, noised: training.dn_detr(run, targets, criterion, noised),
        detect=partial(postprocess.top, count=options["num_select"]),
        weights=weights | {f"tgt_{name}": value for name, value in weights.items()},
    )


def group_detr(options: Options, constants: Options) -> Method:
    """Group DETR on Conditional DETR."""
    detector = GroupConditionalDETR(
        heads=options["nheads"],
        encoder_layers=options["enc_layers"],
        decoder_layers=options["dec_layers"],
        queries=options["num_queries"],
        groups=options["group_detr"],
    )
    criterion = Criterion(_costs(options), options["focal_alpha"])
    return Method(
        forward=_without_noise(detector),
        supervise=lambda run, targets, draws, noised: training.groups(run, targets, criterion, options["group_detr"]),
        detect=partial(postprocess.top, count=100),
        weights=_weights(options, {"": ""}, options["dec_layers"]),
    )
