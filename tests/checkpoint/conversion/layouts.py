"""Published state dicts of small models, under the names of several code bases."""

import re

from tests.checkpoint.published import published


def tiny(name, num_classes=None, **changes):
    """Content of a file of a tiny published model."""
    state, options = published(name, num_classes)
    return {"model": state, "args": options, **changes}


def huggingface(state):
    """An official state dict as Hugging Face names it, by their published conversion."""
    renamed = {}
    norms = {"encoder": ("self_attn", "final"), "decoder": ("encoder_attn", "self_attn", "final")}
    for name, value in state.items():
        new = name
        for number, norm in enumerate(norms["encoder" if ".encoder." in name else "decoder"], start=1):
            new = re.sub(rf"(layers\.\d+)\.norm{number}\.", rf"\1.{norm}_layer_norm.", new)
        new = new.replace("linear1", "fc1").replace("linear2", "fc2").replace("cross_attn", "encoder_attn")
        new = new.replace("transformer.", "").replace("query_embed", "query_position_embeddings")
        new = new if re.match(r"(class|bbox)_embed", name) else "model." + new
        if "in_proj" in new:
            for part, rows in zip("qkv", value.chunk(3), strict=True):
                renamed[new.replace("in_proj_", f"{part}_proj.")] = rows
        else:
            renamed[new] = value
    return renamed
