"""Parts of a config that follow from the options of a published file, and not from the shapes of its weights."""

import re
from collections.abc import Mapping
from typing import Any

from detectron2.config import LazyCall as L
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from querydet.modeling.detector import QueryDetector
from querydet.modeling.postprocess import NMSPostprocess
from querydet.modeling.selection import SelectedFeatures

STEPS = {"sa": "self_attention", "ca": "cross_attention", "ffn": "ffn"}
_REPLACED = re.compile(
    r"decoder\.layers\.\d+\.(self|cross)_attention\."
    r"(?!(in_proj_|out_proj\.|sampling_offsets\.|attention_weights\.|value_proj\.|output_proj\.))"
)
NMS_CANDIDATES = 10000  # pairs of query and class that enter the suppression, in the released code of MS-DETR


def chosen_parts(
    state: Mapping[str, Tensor], method: str, options: Mapping[str, Any], cfg: DictConfig
) -> dict[str, Any]:
    """Return the changes of a config that options, or the absence of a weight, ask for.

    Args:
        state: weights under our names.
        method: a key of `methods.RECIPES`.
        options: from `options.read_options`.
        cfg: the config that is changed.

    Raises:
        ValueError: the steps of the decoder's layers are not those of our layers.
    """
    changes: dict[str, Any] = {}
    if "order" in options:
        changes["model.decoder.layer.order"] = _order(options["order"])
    if method == "dino":
        changes |= _of_dino(state, options)
    if method == "ms_detr_pp" and "decoder.layers.0.read_out.ffn.linear1.weight" not in state:
        changes["model.decoder.layer.one_to_many.ffn"] = None
    if options.get("nms_threshold") is not None:
        changes["model.postprocess"] = L(NMSPostprocess)(
            num_detections=options.get("num_detections", cfg.model.postprocess.num_detections),
            iou_threshold=float(options["nms_threshold"]),
            max_candidates=NMS_CANDIDATES,
            clip=True,
        )
    return changes


def check_given_attentions(cfg: DictConfig) -> None:
    """Refuse a given config that replaces an attention of the decoder layers.

    Raises:
        ValueError: it does; the message names the key.
    """
    for step in ("self_attention", "cross_attention"):
        key = f"model.decoder.layer.{step}"
        if OmegaConf.select(cfg, key) is not None:
            raise ValueError(
                f"the given config replaces the usual attention ({key}), but all published weights were trained with "
                f"that attention: set {key}=null, or leave --config-file out to get a config that fits"
            )


def check_own_attentions(state: Mapping[str, Tensor]) -> None:
    """Refuse weights, under our names, of decoder layers in which another part replaces an attention.

    Raises:
        ValueError: there are such weights; the message names one.
    """
    replaced = next((name for name in state if _REPLACED.match(name)), None)
    if replaced is not None:
        raise ValueError(
            f"{replaced} belongs to a part that replaces an attention (model.decoder.layer); the official code has no "
            "such part, and no names for its weights"
        )


def _order(steps: Any) -> list[str]:
    if not isinstance(steps, list | tuple) or sorted(map(str, steps)) != sorted(STEPS):
        raise ValueError(
            f"the file was trained with decoder_module_seq={steps!r}, but a layer here has each of {sorted(STEPS)} once"
        )
    return [STEPS[step] for step in steps]


def _of_dino(state: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "selection.content.weight" not in state and options.get("learned_content") is not True:
        changes["model.selection.content"] = L(SelectedFeatures)()  # pure query selection (DINO, figure 5)
    if options.get("detached_boxes"):
        changes["model.decoder.look_forward_twice"] = False
    if changes:
        changes["model._target_"] = QueryDetector  # the ideas of DINO that its class checks are not all there
    return changes
