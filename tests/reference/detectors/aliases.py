"""Parameters that published state dicts have under several names."""

import re
from collections.abc import Iterable

HEAD = re.compile(r"(class_embed|bbox_embed)\.(\d+)\.(.+)")


def aliases(
    names: Iterable[str], *, one_head: bool = False, decoder_has: tuple[str, ...] = (), boxes_of_branch: int = 0
) -> list[list[str]]:
    """Groups of names that are of one parameter.

    Args:
        names: of all parameters, each under its first name.
        one_head: whether all layers share their heads.
        decoder_has: the kinds of heads that are under "transformer.decoder." too.
        boxes_of_branch: number of box heads that a one-to-many branch has under a name of its own.
    """
    groups: dict[tuple[str, str, str], list[str]] = {}
    for match in filter(None, map(HEAD.fullmatch, names)):
        kind, index, rest = match.groups()
        group = groups.setdefault((kind, "" if one_head else index, rest), [])
        group.append(match[0])
        if kind in decoder_has:
            group.append(f"transformer.decoder.{match[0]}")
        if kind == "bbox_embed" and int(index) < boxes_of_branch:
            group.append(f"bbox_embed_o2m.{index}.{rest}")
    return [group for group in groups.values() if len(group) > 1]
