"""From a published state dict to one of our names, with every key accounted for."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from querydet.checkpoint.conversion.families import FAMILIES
from querydet.checkpoint.conversion.names import HUGGINGFACE, Family, Sizes, matches

SHOWN = 12
DROPPED = {  # whole names or ends of names, by the reason
    r".*\.num_batches_tracked": "a counter of batch norm, which frozen batch norms do not have",
    r"pixel_(mean|std)": "the normalisation of images is part of the config",
    r"criterion\..*": "of a loss",
}


@dataclass
class Conversion:
    """A converted state dict, and where each key of the published one went.

    Args:
        state: our names.
        family: the code base that the names are of.
        sizes: what its names depend on.
        mapped: their name to ours.
        aliases: their name to the name that holds the same values and was mapped.
        dropped: their name to the reason.
        notes: for the user.
    """

    state: dict[str, Tensor]
    family: Family
    sizes: Sizes
    mapped: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def account(self) -> str:
        """A line on how many keys went where, and a line for each reason to drop some."""
        lines = [f"{len(self.mapped)} keys mapped, {len(self.aliases)} aliases of them, {len(self.dropped)} dropped"]
        for reason in dict.fromkeys(self.dropped.values()):
            names = [name for name, why in self.dropped.items() if why == reason]
            lines.append(f"dropped {len(names)} ({reason}): {_some(names)}")
        return "\n".join(lines)


def recognise(names: Iterable[str]) -> Family:
    """The code base that a state dict is of, by its names.

    Raises:
        ValueError: no family has all of its marks in the names; the message has the nearest and what it misses.
    """
    names = list(names)
    complete = recognise_or_none(names)
    if complete is not None:
        return complete
    found = {family.name: matches(family, names) for family in FAMILIES}
    if any(name.startswith(("neck.level_embed", "selection.")) for name in names):
        raise ValueError("these are querydet's own names already: there is nothing to convert")
    nearest = max(FAMILIES, key=lambda family: sum(found[family.name].values()))
    marks = found[nearest.name]
    if not any(marks.values()):
        wanted = "; ".join(f"{family.name}: {', '.join(family.marks)}" for family in FAMILIES)
        raise ValueError(
            f"no known layout has names such as {_some(names)}. Wanted are names that begin with ({{}} is a number) "
            f"{wanted}"
        )
    missing = [mark for mark, there in marks.items() if not there]
    raise ValueError(
        f"the layout was not recognised. The nearest is {nearest.name}, but nothing begins with {', '.join(missing)} "
        f"({{}} is a number); the names are {_some(names)}"
    )


def recognise_or_none(names: Iterable[str]) -> Family | None:
    """The code base that a state dict is of, None when it is none of the known ones."""
    names = list(names)
    return next((family for family in FAMILIES if all(matches(family, names).values())), None)


def convert_state_dict(state: Mapping[str, Tensor], family: Family | None = None) -> Conversion:
    """Rename a published state dict.

    Heads that all layers share are stored once, as here; heads that are not are kept apart.

    Args:
        state: published names, no wrapper's prefix.
        family: the code base; None: recognised.

    Raises:
        ValueError: the layout is not recognised, a name has no rule, or names that have to be copies of one tensor
            differ.
    """
    family = recognise(state) if family is None else family
    sizes = find_sizes(state, family)
    result = Conversion({}, family, sizes)
    parts: dict[str, dict[int, str]] = {}
    unknown: list[str] = []
    for name in state:
        reason = next((why for pattern, why in DROPPED.items() if re.fullmatch(pattern, name)), None)
        ours = family.our_name(name, sizes)
        if reason is not None:
            result.dropped[name] = reason
        elif ours is None:
            unknown.append(name)
        elif "#" in ours:
            whole, part = ours.split("#")
            parts.setdefault(whole, {})[int(part)] = name
            result.mapped[name] = whole
        else:
            _add(result, state, name, ours)
    if unknown:
        raise ValueError(_unknown(unknown, state, family))
    for whole, names in parts.items():
        if sorted(names) != [0, 1, 2]:
            raise ValueError(f"{whole} needs three parts, of which there are only {', '.join(names.values())}")
        result.state[whole] = torch.cat([state[names[number]] for number in range(3)])
    if family is HUGGINGFACE:
        _fill_ties(result)
    _share_heads(result)
    return result


def find_sizes(state: Mapping[str, Tensor], family: Family) -> Sizes:
    """What the names of a published state dict depend on."""
    ours = ((family.our_name(name, Sizes(99, 99, True)), value) for name, value in state.items())
    dino = any(name.startswith("transformer.enc_out_") for name in state)
    return find_counts({name: value for name, value in ours if name is not None}, dino)


def find_counts(state: Mapping[str, Tensor], dino: bool) -> Sizes:
    """The same of a state dict of our names, to be named as in the official DINO or not.

    Layers beyond a gap are not counted.
    """
    layers = {int(found[1]) for name in state if (found := re.match(r"decoder\.layers\.(\d+)\.", name))}
    projections = (re.match(r"neck\.projections\.(\d+)\.", name) for name in state)
    maps = {int(found[1]) for found in projections if found}
    for number in list(maps):  # official names do not tell maps of the backbone from further levels: kernels do
        weight = state.get(f"neck.projections.{number}.conv.weight")
        if weight is not None and weight.shape[-1:] != (1,):
            maps.remove(number)
    two_stage = any(name.startswith("selection.proposals.linear") for name in state)
    return Sizes(num_maps=_run(maps), num_layers=_run(layers), two_stage=two_stage, dino=dino)


def _run(numbers: set[int]) -> int:
    """How many of 0, 1, 2, ... are there without a gap."""
    return next(number for number in range(len(numbers) + 1) if number not in numbers)


def _add(result: Conversion, state: Mapping[str, Tensor], name: str, ours: str) -> None:
    if ours not in result.state:
        result.state[ours] = state[name]
        result.mapped[name] = ours
        return
    first = next(theirs for theirs, mapped in result.mapped.items() if mapped == ours)
    if not _same(state[name], state[first]):
        raise ValueError(
            f"{name} and {first} have to be one parameter, but hold different values: the file was put together from "
            "two models, or this is another variant of the method"
        )
    result.aliases[name] = first


def _share_heads(result: Conversion) -> None:
    """Store the heads once when those of all layers are equal."""
    layers = range(1, result.sizes.num_layers)
    names = [name for name in result.state if re.match(r"heads\.(class|box)_heads\.0\.", name)]
    copies = {name: [re.sub(r"_heads\.0\.", f"_heads.{layer}.", name) for layer in layers] for name in names}
    for name, others in copies.items():
        for other in others:
            if other not in result.state or not _same(result.state[other], result.state[name]):
                return
    theirs = {ours: name for name, ours in result.mapped.items()}
    for name, others in copies.items():
        for other in others:
            del result.state[other]
            if other in theirs:  # else it was filled in
                del result.mapped[theirs[other]]
                result.aliases[theirs[other]] = theirs[name]


def _fill_ties(result: Conversion) -> None:
    """Hugging Face writes parameters that layers share once, under the name of the first."""
    filled = set()
    for name in [name for name in result.state if re.match(r"heads\.(class|box)_heads\.0\.", name)]:
        kind, rest = re.fullmatch(r"heads\.(class|box)_heads\.0\.(.+)", name).groups()  # type: ignore[union-attr]
        wanted = [f"heads.{kind}_heads.{layer}.{rest}" for layer in range(1, result.sizes.num_layers)]
        if result.sizes.two_stage:
            wanted.append(f"selection.proposals.{kind}_head.{rest}")
        if any(other in result.state for other in wanted):
            continue
        for other in wanted:
            result.state[other] = result.state[name]
            filled.add(kind)
    if filled:
        result.notes.append(f"the {' and '.join(sorted(filled))} heads are in the file once, and serve all layers")


def _same(left: Tensor, right: Tensor) -> bool:
    return left is right or (left.shape == right.shape and bool(torch.equal(left, right)))


def _unknown(unknown: list[str], state: Mapping[str, Tensor], family: Family) -> str:
    return (
        f"the layout is {family.name}, but {len(unknown)} of {len(state)} keys have no rule, and none may be left "
        f"over: {_some(unknown)}"
    )


def nearest(name: str, others: Iterable[str]) -> str:
    """The most alike of other names as a hint, or ""."""
    found = difflib.get_close_matches(name, list(others), n=1, cutoff=0.8)
    return f" (is it {found[0]}?)" if found else ""


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
