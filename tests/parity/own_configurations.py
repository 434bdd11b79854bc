"""Our own configurations, read from their tables."""

from ast import literal_eval
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.parity.own_tables import BATCHES, IMPLEMENTATION_A, NOT_IN_A, TABLES, Batch

LISTS = ("decoder_module_seq",)  # written with an underscore between the items
CRITERION = ("o2m_matcher_k", "o2m_matcher_threshold", "use_indices_merge")  # options that the released code drops
WEIGHTS = {"class_weight": "loss_class", "bbox_weight": "loss_bbox", "giou_weight": "loss_giou"}


@dataclass(frozen=True)
class Configuration:
    """One of our configurations.

    Args:
        name: of the fixture.
        adapter: as in the recordings.
        options: as in the released code, nested where that is.
        constants: what is no option there.
        batch: the images.
        seed: of everything random.
    """

    name: str
    adapter: str
    options: dict[str, Any]
    constants: dict[str, Any]
    batch: Batch
    seed: int


def rows(adapter: str) -> dict[str, list[Any]]:
    """The lines of a table: the released value and ours, by option."""
    table = dict(_read(TABLES[adapter]))
    if adapter == "ms_detr_impl_a":
        table = {option: values for option, values in table.items() if option not in NOT_IN_A}
        table |= _read(IMPLEMENTATION_A)
    return table


def _read(table: str) -> dict[str, list[Any]]:
    lines = [line.split() for line in table.strip().splitlines()]
    return {option: [_value(option, text) for text in values] for option, *values in lines}


def _value(option: str, text: str) -> Any:
    if option in LISTS:
        return text.split("_")
    return text if option == "images" or text == "-" else literal_eval(text)


@cache
def configurations() -> dict[str, Configuration]:
    """All of ours, by name."""
    found = {}
    for adapter in TABLES:
        table = rows(adapter)
        for column in range(1, len(table["seed"])):
            configuration = _configuration(adapter, column, {option: line[column] for option, line in table.items()})
            found[configuration.name] = configuration
    return found


def _configuration(adapter: str, column: int, values: dict[str, Any]) -> Configuration:
    batch, seed = BATCHES[values.pop("images")], values.pop("seed")
    constants = {name: values.pop(name) for name in list(values) if name in CRITERION or _of_deta(name)}
    for stage, mark in (("first", ("stage1", "pre", "nms")), ("second", ("stage2", "post"))):
        if not values.get(f"assign_{stage}_stage", True):
            constants = {name: value for name, value in constants.items() if not name.startswith(mark)}
    options = {**values, "dropout": 0.0}
    if adapter.startswith("detrex"):
        options = nested_options(values)
    return Configuration(f"own_{adapter}_{column}", adapter, options, constants, batch, seed)


def _of_deta(name: str) -> bool:
    return name.startswith(("stage1", "stage2", "pre_nms", "nms_iou", "post_"))


def nested_options(values: dict[str, Any]) -> dict[str, Any]:
    """Detrex's configuration of H-DETR, which says most sizes several times."""
    width, levels = values["embed_dim"], values["transformer.num_feature_levels"]
    layers = ["", *(f"_{index}" for index in range(values["transformer.decoder.num_layers"] - 1)), "_enc"]
    weights = {f"{loss}{layer}": values[option] for option, loss in WEIGHTS.items() for layer in layers}
    total = values["num_queries_one2one"] + values["num_queries_one2many"]
    again = {
        "criterion.num_classes": values["num_classes"],
        "criterion.weight_dict": weights,
        "neck.norm_layer.num_channels": width,
        "neck.num_outs": levels,
        "neck.out_channels": width,
        "position_embedding.num_pos_feats": width // 2,
        "transformer.mixed_selection": values["mixed_selection"],
        "transformer.two_stage_num_proposals": total,
        "transformer.decoder.feedforward_dim": values["transformer.encoder.feedforward_dim"],
        "transformer.decoder.num_heads": values["transformer.encoder.num_heads"],
    }
    again |= {f"transformer.{part}.embed_dim": width for part in ("encoder", "decoder")}
    again |= {f"transformer.{part}.num_feature_levels": levels for part in ("encoder", "decoder")}
    options: dict[str, Any] = {}
    for path, value in (values | again).items():
        *parts, last = path.split(".")
        node = options
        for part in parts:
            node = node.setdefault(part, {})
        if last not in WEIGHTS:
            node[last] = value
    return options
