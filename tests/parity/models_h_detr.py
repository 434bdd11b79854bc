"""Our detector for the recorded configurations of H-DETR, in detrex's port."""

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from querydet.config import get_config
from tests.parity.models import set_focal_cost, set_layers, set_losses

if TYPE_CHECKING:
    from tests.parity.fixture import Fixture

FIXED = {  # what the composition stands for
    "as_two_stage": True,
    "aux_loss": True,
    "criterion.loss_class_type": "focal_loss",
    "criterion.matcher.cost_class_type": "focal_loss_cost",
    "neck.kernel_size": 1,
    "neck.norm_layer.num_groups": 32,
    "position_embedding.normalize": True,
    "transformer.as_two_stage": True,
    "transformer.decoder.attn_dropout": 0.0,
    "transformer.decoder.ffn_dropout": 0.0,
    "transformer.decoder.return_intermediate": True,
    "transformer.encoder.attn_dropout": 0.0,
    "transformer.encoder.ffn_dropout": 0.0,
    "transformer.encoder.post_norm": False,
    "with_box_refine": True,
}
# names and sizes of what the recording replaces, and numbers that are given again elsewhere
UNREAD = ("device", "neck.in_features", "neck.input_shapes", "pixel_mean", "pixel_std", "criterion.weight_dict")


class Options:
    """A nested configuration by dotted keys, which have to be read, fixed or known to say nothing here."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.values = dict(_flatten(config))

    def __getitem__(self, key: str) -> Any:
        return self.values.pop(key)

    def same(self, *keys: str) -> Any:
        """The one value that all of these have."""
        first, *others = (self[key] for key in keys)
        if any(value != first for value in others):
            raise KeyError(f"cannot express different values of {', '.join(keys)}")
        return first

    def check_all_read(self) -> None:
        for key, value in self.values.items():
            if key in FIXED and value != FIXED[key]:
                raise KeyError(f"cannot express {key}={value!r}")
            if key not in FIXED and not key.startswith(UNREAD) and not key.endswith("_target_"):
                raise KeyError(f"no rule for the option {key}={value!r}")


def _flatten(config: dict[str, Any], prefix: str = "") -> Any:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _layers(options: Options, part: str) -> dict[str, Any]:
    return {
        "num_layers": options[f"transformer.{part}.num_layers"],
        "num_heads": options[f"transformer.{part}.num_heads"],
        "ffn_dim": options[f"transformer.{part}.feedforward_dim"],
        "dropout": 0.0,
    }


def _h_detr(fixture: "Fixture") -> DictConfig:
    options = Options(fixture.config)
    model = get_config("common/models/h_detr.py").model
    model.num_classes = options.same("num_classes", "criterion.num_classes")
    model.neck.embed_dim = options.same(
        "embed_dim",
        "neck.out_channels",
        "neck.norm_layer.num_channels",
        "transformer.encoder.embed_dim",
        "transformer.decoder.embed_dim",
    )
    if 2 * options["position_embedding.num_pos_feats"] != model.neck.embed_dim:
        raise KeyError("cannot express a width of position_embedding that is not that of the tokens")
    model.neck.num_levels = options.same(
        "neck.num_outs",
        "transformer.num_feature_levels",
        "transformer.encoder.num_feature_levels",
        "transformer.decoder.num_feature_levels",
    )
    model.neck.position_embedding.temperature = float(options["position_embedding.temperature"])
    model.neck.position_embedding.offset = float(options["position_embedding.offset"])
    set_layers(model, _layers(options, "encoder"), _layers(options, "decoder"))
    _set_queries(model, options)
    model.decoder.look_forward_twice = options["transformer.decoder.look_forward_twice"]
    model.heads.inverse_sigmoid_eps = 1e-3
    _set_criterion(model, options, fixture.description["loss_weights"])
    model.postprocess.num_detections = options["select_box_nums_for_evaluation"]
    options.check_all_read()
    return model


def _set_queries(model: DictConfig, options: Options) -> None:
    hybrid = model.selection
    selection = hybrid.selection
    selection.num_queries = options["num_queries_one2one"]
    hybrid.extra_queries = options["num_queries_one2many"]
    if options["transformer.two_stage_num_proposals"] != selection.num_queries + hybrid.extra_queries:
        raise KeyError("cannot express two_stage_num_proposals other than the sum of both groups")
    hybrid.repeats = options["k_one2many"]
    hybrid.extra_weight = options["lambda_one2many"]
    if not options.same("mixed_selection", "transformer.mixed_selection"):
        selection.content = hybrid.extra_content = None


def _set_criterion(model: DictConfig, options: Options, weights: dict[str, float]) -> None:
    set_losses(model, weights, options["criterion.alpha"], options["criterion.gamma"])
    set_focal_cost(model, options["criterion.matcher.alpha"], options["criterion.matcher.gamma"])
    costs = {kind: options[f"criterion.matcher.cost_{kind}"] for kind in ("class", "bbox", "giou")}
    for rule in model.criterion.rules.values():
        rule.assigner.update(class_weight=costs["class"], l1_weight=costs["bbox"], giou_weight=costs["giou"])
        rule.assigner.giou_eps = rule.losses.giou.eps = 1e-6


MODELS = {"detrex_h_deformable": _h_detr}
