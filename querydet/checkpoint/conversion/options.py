"""Options in a published file: the settings that its model was trained with.

Official files store their command line in `args`; Hugging Face's have a `config.json` beside them.
"""

import argparse
import json
import os
from collections.abc import Mapping
from typing import Any

OFFICIAL = {  # name of an official option to ours
    "nheads": "num_heads",
    "num_queries": "num_queries",
    "num_queries_one2one": "num_queries",
    "num_queries_one2many": "extra_queries",
    "two_stage": "two_stage",
    "with_box_refine": "refine_boxes",
    "mixed_selection": "mixed_selection",
    "look_forward_twice": "look_forward_twice",
    "use_ms_detr": "ms_detr",
    "dilation": "dilation",
    "topk_eval": "num_detections",
    "num_patterns": "num_patterns",
}
HUGGINGFACE = {
    "decoder_attention_heads": "num_heads",
    "encoder_attention_heads": "encoder_heads",
    "num_queries": "num_queries",
    "two_stage_num_proposals": "two_stage_num_proposals",
    "two_stage": "two_stage",
    "with_box_refine": "refine_boxes",
    "dilation": "dilation",
    "position_embedding_type": "position_embedding",
    "assign_first_stage": "assign_first_stage",
}
DINO = {  # other methods have these options too, without effect
    "pe_temperatureH": "temperature",
    "pe_temperatureW": "temperature_w",
    "num_select": "num_detections",
}


def read_options(content: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Read the options of a file, under our names; empty if it has none.

    Args:
        content: of the checkpoint file.
        path: of the file; a `config.json` in its folder that describes a detector of this family is read too.

    Raises:
        ValueError: the `config.json` is no json.
    """
    arguments = content.get("args")
    if isinstance(arguments, argparse.Namespace):
        arguments = vars(arguments)
    if isinstance(arguments, Mapping):
        table = OFFICIAL | (DINO if "dn_labelbook_size" in arguments else {})
        return {ours: arguments[theirs] for theirs, ours in table.items() if arguments.get(theirs) is not None}
    config_path = os.path.join(os.path.dirname(path), "config.json")
    if not path or not os.path.isfile(config_path):
        return {}
    try:
        with open(config_path, encoding="utf-8") as file:
            values = json.load(file)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{config_path}, which lies beside the weights, is no json: {error}") from error
    if not isinstance(values, dict) or values.get("model_type") not in ("deformable_detr", "deta"):
        return {}
    options = {ours: values[theirs] for theirs, ours in HUGGINGFACE.items() if values.get(theirs) is not None}
    if options.get("two_stage"):
        options["num_queries"] = options.get("two_stage_num_proposals", options.get("num_queries"))
    return options
