"""Our detector for the recorded configurations: Deformable DETR and DINO, and what the other adapters share."""

import math
import re
from typing import TYPE_CHECKING, Any

from detectron2.config import LazyCall as L
from omegaconf import DictConfig

from querydet.config import get_config
from querydet.modeling.detector import QueryDetector
from querydet.modeling.queries import GroupsPerProcess
from querydet.modeling.selection import SelectedFeatures
from tests.parity.options import TRAINING, WEIGHTS, RecordedConfig, check_all_read, check_fixed

if TYPE_CHECKING:
    from tests.parity.fixture import Fixture


def set_layers(model: DictConfig, encoder: dict[str, Any], decoder: dict[str, Any]) -> None:
    for part, values in ((model.encoder, encoder), (model.decoder, decoder)):
        part.num_layers = values.pop("num_layers")
        part.layer.update(values)


LOSSES = {"class": ("loss_ce", "loss_class"), "l1": ("loss_bbox",), "giou": ("loss_giou",)}  # our names and theirs


def set_losses(model: DictConfig, weights: dict[str, float], alpha: float = 0.25, gamma: float = 2.0) -> None:
    """Set every rule's weights from the recorded ones, which have to be equal for all layers of a rule."""
    # DN-DETR's tgt_loss_ce_0 is what the others call loss_ce_dn_0
    weights = {re.sub(r"^tgt_(loss_[a-z]+)", r"\1_dn", name): value for name, value in weights.items()}
    for rule in model.criterion.rules.values():
        mark = "|".join(_marks(rule))
        for ours, names in LOSSES.items():
            pattern = re.compile(rf"({'|'.join(names)})(({mark})(_\d+)?|(_\d+)?({mark}))")
            found = {value for name, value in weights.items() if pattern.fullmatch(name)}
            if len(found) != 1:
                raise ValueError(f"weights {sorted(found)} for {names} of {rule.stage} layers: one rule has one weight")
            rule.losses[ours].weight = float(found.pop())
        rule.losses["class"].update(alpha=alpha, gamma=gamma)


def set_focal_cost(model: DictConfig, alpha: float = 0.25, gamma: float = 2.0) -> None:
    """Set the focal cost of every matching: literals in most released codes, whatever the alpha of the loss."""
    for rule in model.criterion.rules.values():
        if "gamma" in rule.assigner:  # the alpha of a one-to-many assigner is another
            rule.assigner.update(alpha=alpha, gamma=gamma)


def _marks(rule: DictConfig) -> tuple[str, ...]:
    """What the names of a rule's losses have besides the term and the layer."""
    if rule.stage == "encoder":
        return ("_enc", "_interm")
    if rule.get("branch") == "one_to_many":
        return ("_o2m",)
    if rule.get("branch") == "second_stream":
        return ("_dn_stream2" if rule.get("role") == "denoising" else "_stream2",)
    return ("_dn",) if rule.get("role") == "denoising" else ("",)


def official_layers(config: dict[str, Any], part: str) -> dict[str, Any]:
    return {
        "num_layers": config[f"{part}_layers"],
        "num_heads": config["nheads"],
        "num_points": config[f"{part}_n_points"],
        "ffn_dim": config["dim_feedforward"],
        "dropout": config["dropout"],
    }


def set_official(model: DictConfig, fixture: "Fixture", weights: dict[str, float] | None = None) -> None:
    """Set what the options of Deformable DETR's code say; weights of losses are the recorded ones unless given."""
    config = fixture.config
    model.num_classes = config["num_classes"]
    model.neck.embed_dim = config["hidden_dim"]
    model.neck.num_levels = config["num_feature_levels"]
    model.selection.num_queries = fixture.num_queries
    set_layers(model, official_layers(config, "enc"), official_layers(config, "dec"))
    set_losses(model, weights or fixture.description["loss_weights"], config["focal_alpha"])
    set_focal_cost(model)
    set_costs(model, config)


def set_temperatures(model: DictConfig, config: dict[str, Any]) -> None:
    """Set the temperatures of the position embedding, of y and of x, from the released options."""
    embedding = model.neck.position_embedding
    embedding.temperature, embedding.temperature_x = (float(config[f"pe_temperature{axis}"]) for axis in "HW")


def set_costs(model: DictConfig, config: dict[str, Any]) -> None:
    """Set the costs of every matching from the released options."""
    names = {"class_weight": "set_cost_class", "l1_weight": "set_cost_bbox", "giou_weight": "set_cost_giou"}
    costs = {ours: config[theirs] for ours, theirs in names.items()}
    for rule in model.criterion.rules.values():
        if "class_weight" in rule.assigner:  # not in an assignment by overlap
            rule.assigner.update(costs)


def _deformable(fixture: "Fixture") -> DictConfig:
    config = fixture.config
    two_stage = config["two_stage"]
    model = get_config(f"common/models/deformable_detr{'' if two_stage else '_one_stage'}.py").model
    set_official(model, fixture)
    model.decoder.refine_boxes = config["with_box_refine"]
    model.heads.share_layers = not config["with_box_refine"]
    if config.get("mixed_selection"):
        plus = get_config("common/models/deformable_detr_pp.py").model
        model.selection.content = plus.selection.content
    model.decoder.look_forward_twice = bool(config.get("look_forward_twice", False))
    model.postprocess.num_detections = config.get("topk_eval", 100)
    check_fixed(config, OFFICIAL_FIXED)
    check_all_read(config, [*TRAINING.split(), *WEIGHTS.split()])
    return model


OFFICIAL_FIXED = {  # what every composition of Deformable DETR's code stands for
    "aux_loss": True,
    "masks": False,
    "position_embedding": "sine",
    "position_embedding_scale": 2 * math.pi,
}
# options of DINO's released code that the composition stands for; another value cannot be expressed
DINO_FIXED = {
    "add_channel_attention": False,
    "add_pos_value": False,
    "aux_loss": True,
    "dabdetr_deformable_decoder": False,
    "dabdetr_deformable_encoder": False,
    "dabdetr_yolo_like_anchor_update": False,
    "dec_layer_number": None,
    "decoder_layer_noise": False,
    "decoder_sa_type": "sa",
    "masks": False,
    "nms_iou_threshold": -1,
    "pdetr3_bbox_embed_diff_each_layer": False,
    "pdetr3_refHW": -1,
    "query_dim": 4,
    "two_stage_pat_embed": 0,
    "unic_layers": 0,
    "fix_refpoints_hw": -1,
    "no_interm_box_loss": False,
    "num_patterns": 0,
    "position_embedding": "sine",
    "pre_norm": False,
    "transformer_activation": "relu",
    "two_stage_add_query_num": 0,
    "two_stage_bbox_embed_share": False,
    "two_stage_class_embed_share": False,
    "two_stage_keep_all_tokens": False,
    "two_stage_learn_wh": False,
    "two_stage_type": "standard",
    "use_deformable_box_attn": False,
    "use_dn": True,
}
DINO_UNUSED = """
    box_attn_type dln_hw_noise dln_xy_noise random_refpoints_xy two_stage_default_hw
"""  # of what is off: box attention, noise of layers, learned points and sizes
STEPS = {"sa": "self_attention", "ca": "cross_attention", "ffn": "ffn"}


def _dino(fixture: "Fixture") -> DictConfig:
    config = fixture.config
    check_fixed(config, DINO_FIXED)
    model = get_config("common/models/dino.py").model
    model.decoder.layer.order = [STEPS[step] for step in config["decoder_module_seq"]]
    if not config["embed_init_tgt"]:
        model.selection.content = L(SelectedFeatures)()
    set_official(model, fixture)
    set_focal_cost(model, config["focal_alpha"])  # this matcher has that of the loss
    set_temperatures(model, config)
    model.decoder.look_forward_twice = not config["use_detached_boxes_dec_out"]
    if config["dec_pred_class_embed_share"] != config["dec_pred_bbox_embed_share"]:
        raise ValueError("dec_pred_{class,bbox}_embed_share differ: our heads are shared by all layers or not")
    model.heads.share_layers = config["dec_pred_class_embed_share"]
    model.denoising.groups = L(GroupsPerProcess)(num_queries=config["dn_number"], min_dynamic=100)
    model.denoising.box_noise = config["dn_box_noise_scale"]
    model.denoising.label_noise = config["dn_label_noise_ratio"]
    model.denoising.num_classes = config["num_classes"]
    model.denoising.num_embeddings = config["dn_labelbook_size"] + 1
    if not config["embed_init_tgt"] or config["use_detached_boxes_dec_out"]:
        model._target_ = QueryDetector  # the ideas of DINO that its class checks are not all there
    model.postprocess.num_detections = config["num_select"]
    check_all_read(config, [*TRAINING.split(), *WEIGHTS.split(), *DINO_UNUSED.split()])
    return model


def _detrex_dino(fixture: "Fixture") -> DictConfig:
    model = get_config("common/models/dino.py").model
    set_detrex_dino(model, fixture)
    model.heads.share_layers = False
    check_detrex(fixture.config)
    return model


def set_detrex_dino(model: DictConfig, fixture: "Fixture") -> None:
    """Set what detrex's DINO and the models on it have in common."""
    config = fixture.config
    transformer, position = config["transformer"], config["position_embedding"]
    model.num_classes = config["num_classes"]
    model.neck.embed_dim = config["embed_dim"]
    model.neck.num_levels = transformer["num_feature_levels"]
    model.neck.position_embedding.temperature = float(position["temperature"])
    model.neck.position_embedding.offset = float(position["offset"])
    model.selection.num_queries = config["num_queries"]
    set_layers(model, _detrex_layers(transformer["encoder"]), _detrex_layers(transformer["decoder"]))
    criterion = config["criterion"]
    set_losses(model, fixture.description["loss_weights"], criterion["alpha"], criterion["gamma"])
    set_focal_cost(model, criterion["matcher"]["alpha"], criterion["matcher"]["gamma"])
    for rule in (model.criterion.rules.decoder, model.criterion.rules.encoder):
        rule.assigner.class_weight = criterion["matcher"]["cost_class"]
        rule.assigner.l1_weight = criterion["matcher"]["cost_bbox"]
        rule.assigner.giou_weight = criterion["matcher"]["cost_giou"]
    model.denoising.groups = L(GroupsPerProcess)(num_queries=config["dn_number"])
    model.denoising.box_noise = config["box_noise_scale"]
    model.denoising.label_noise = config["label_noise_ratio"]
    model.denoising.num_embeddings = config["num_classes"]
    model.postprocess.num_detections = config["select_box_nums_for_evaluation"]


# of detrex's DINO: what the composition stands for, and what the recording replaces
DETREX_FIXED = {
    "": {"aux_loss": True, "input_format": "RGB"},
    "criterion": {"loss_class_type": "focal_loss", "two_stage_binary_cls": False},
    "criterion.matcher": {"cost_class_type": "focal_loss_cost"},
    "neck": {"kernel_size": 1},
    "neck.norm_layer": {"num_groups": 32},
    "position_embedding": {"normalize": True},
    "transformer.encoder": {"attn_dropout": 0.0, "post_norm": False},
    "transformer.decoder": {"attn_dropout": 0.0, "return_intermediate": True},
}
DETREX_UNREAD = """
    backbone criterion.weight_dict device prior_init neck.in_features neck.input_shapes pixel_mean pixel_std vis_period
    transformer.encoder.use_checkpoint transformer.decoder.use_checkpoint
"""


def check_detrex(config: RecordedConfig) -> None:
    """Check the options that say something again, and those with one value."""
    transformer, neck = config["transformer"], config["neck"]
    stacks = (transformer["encoder"], transformer["decoder"])
    widths = [neck["out_channels"], neck["norm_layer"]["num_channels"], *(stack["embed_dim"] for stack in stacks)]
    levels = [neck["num_outs"], *(stack["num_feature_levels"] for stack in stacks)]
    said_again = {
        "embed_dim": [2 * config["position_embedding"]["num_pos_feats"], *widths],
        "num_queries": [transformer["two_stage_num_proposals"]],
        "num_classes": [config["criterion"]["num_classes"]],
    }
    for key, values in said_again.items():
        if set(values) != {config[key]}:
            raise KeyError(f"cannot express {key}={config[key]!r} beside {values}")
    if set(levels) != {transformer["num_feature_levels"]}:
        raise KeyError(f"cannot express levels {levels}")
    for path, fixed in DETREX_FIXED.items():
        node = config
        for part in filter(None, path.split(".")):
            node = node[part]
        check_fixed(node, fixed)
    check_all_read(config, DETREX_UNREAD.split())


def _detrex_layers(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "num_layers": config["num_layers"],
        "num_heads": config["num_heads"],
        "ffn_dim": config["feedforward_dim"],
        "dropout": config["ffn_dropout"],
    }


MODELS = {"deformable": _deformable, "dino": _dino, "detrex_dino": _detrex_dino}
