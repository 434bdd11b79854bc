"""Parts of a model that a config names: its children, such as backbone, encoder and decoder."""

from collections.abc import Iterable

from torch import nn


def named_parts(model: nn.Module, names: Iterable[str] | None, option: str) -> dict[str, nn.Module]:
    """Find parts of a model by their names.

    Args:
        model: its attributes are the parts.
        names: a list of their names; None: none.
        option: key of the config that names them, for messages.

    Raises:
        ValueError: there is no such part, or the names are one text and no list.
    """
    if isinstance(names, str) and names:
        raise ValueError(f"{option} has to be a list of parts, such as [{names}], got {names!r}")
    children = dict(model.named_children())
    found = {}
    for name in map(str, names or ()):
        if name not in children:
            raise ValueError(f"{option} names {name!r}, but the model's parts are {', '.join(children)}")
        found[name] = children[name]
    return found
