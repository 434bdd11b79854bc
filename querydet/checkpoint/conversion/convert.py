"""Renaming of a published state dict to our names, with an account of every key."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from querydet.checkpoint.conversion.families import FAMILIES
from querydet.checkpoint.conversion.names import HUGGINGFACE, Family, Sizes, matches
from querydet.utils.texts import listed

SHOWN = 12
DROPPED = {  # reasons by pattern of the full name
    r".*\.num_batches_tracked": "a counter of batch norm, which frozen batch norms do not have",
    r"pixel_(mean|std)": "the normalisation of images is part of the config",
    r"criterion\..*": "of a loss",
}


@dataclass
class Conversion:
    """A converted state dict, and where each key of the published one went.

    Args:
        state: weights under our names.
        family: the code base that the published names come from.
        sizes: numbers on which its names depend.
        mapped: published name to ours.
        aliases: published name of a copy to the name of the same tensor that was mapped.
        dropped: published name to the reason.
        notes: messages for the user.
    """

    state: dict[str, Tensor]
    family: Family
    sizes: Sizes
    mapped: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def account(self) -> str:
        """Summarise how many keys went where, with a line for each reason to drop keys."""
        lines = [f"{len(self.mapped)} keys mapped, {len(self.aliases)} aliases of them, {len(self.dropped)} dropped"]
        for reason in dict.fromkeys(self.dropped.values()):
            names = [name for name, why in self.dropped.items() if why == reason]
            lines.append(f"dropped {len(names)} ({reason}): {listed(names, SHOWN)}")
        return "\n".join(lines)

    def size_of(self, name: str, dim: int) -> int:
        """Return one dimension of a weight that the config depends on.

        Args:
            name: our name of the weight.
            dim: index of the dimension.

        Raises:
            ValueError: the weight does not exist, or has fewer dimensions; the message has its published name.
        """
        theirs = self.family.their_name(name, self.sizes) or name
        if name not in self.state:
            raise ValueError(f"the {self.family.name} layout needs {theirs}, which the file does not have")
        shape = tuple(self.state[name].shape)
        if len(shape) <= dim:
            raise ValueError(f"{theirs} has the shape {shape}, which it cannot have")
        return shape[dim]


def recognise(names: Iterable[str]) -> Family:
    """Recognise the code base of a state dict by its names.

    Args:
        names: of the state dict.

    Raises:
        ValueError: no family has all of its marks in the names; the message has the nearest family and its missing
            marks.
    """
    names = list(names)
    complete = recognise_or_none(names)
    if complete is not None:
        return complete
    marks_by_family = {family.name: matches(family, names) for family in FAMILIES}
    if any(name.startswith(("neck.level_embed", "selection.")) for name in names):
        raise ValueError("these are querydet's own names already: there is nothing to convert")
    nearest = max(FAMILIES, key=lambda family: sum(marks_by_family[family.name].values()))
    marks = marks_by_family[nearest.name]
    if not any(marks.values()):
        layouts = "; ".join(f"{family.name}: {', '.join(family.marks)}" for family in FAMILIES)
        raise ValueError(
            f"no known layout has names such as {listed(names, SHOWN)}. Wanted are names that begin with ({{}} is a "
            f"number) {layouts}"
        )
    missing = [mark for mark, present in marks.items() if not present]
    raise ValueError(
        f"the layout was not recognised. The nearest is {nearest.name}, but nothing begins with {', '.join(missing)} "
        f"({{}} is a number); the names are {listed(names, SHOWN)}"
    )


def recognise_or_none(names: Iterable[str]) -> Family | None:
    """Recognise the code base of a state dict by its names; None if it is unknown."""
    names = list(names)
    return next((family for family in FAMILIES if all(matches(family, names).values())), None)


def convert_state_dict(state: Mapping[str, Tensor], family: Family | None = None) -> Conversion:
    """Rename a published state dict.

    Heads that all layers share are stored once; heads that differ are kept separate.

    Args:
        state: weights under their published names, without the prefix of a wrapper.
        family: the code base; None: recognise it.

    Raises:
        ValueError: the layout is not recognised, a name has no rule, or two copies of one parameter differ.
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
        result.state[whole] = torch.cat([state[names[index]] for index in range(3)])
    if family is HUGGINGFACE:
        _fill_ties(result)
    _share_heads(result)
    return result


def find_sizes(state: Mapping[str, Tensor], family: Family) -> Sizes:
    """Count what the names of a published state dict depend on."""
    plain = replace(family, coarse_first=False)  # levels are turned round once they are counted
    ours = ((plain.our_name(name, Sizes(99, 99, True)), value) for name, value in state.items())
    dino = any(name.startswith("transformer.enc_out_") for name in state)
    return find_counts({name: value for name, value in ours if name is not None}, dino)


def find_counts(state: Mapping[str, Tensor], dino: bool) -> Sizes:
    """Count what names depend on in a state dict of our names.

    Layers beyond a gap are not counted.

    Args:
        state: weights under our names.
        dino: whether they will be named as in the official DINO.
    """
    layers = {int(match[1]) for name in state if (match := re.match(r"decoder\.layers\.(\d+)\.", name))}
    projections = (re.match(r"neck\.projections\.(\d+)\.", name) for name in state)
    maps = {int(match[1]) for match in projections if match}
    for index in list(maps):  # official names do not distinguish maps of the backbone from extra levels: kernels do
        weight = state.get(f"neck.projections.{index}.conv.weight")
        if weight is not None and weight.shape[-1:] != (1,):
            maps.remove(index)
    two_stage = any(name.startswith("selection.proposals.linear") for name in state)
    return Sizes(num_maps=_run(maps), num_layers=_run(layers), two_stage=two_stage, dino=dino)


def _run(numbers: set[int]) -> int:
    """Return the largest n for which all of 0 ... n - 1 are in the set."""
    return next(count for count in range(len(numbers) + 1) if count not in numbers)


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
    """Store the heads once if those of all layers are equal."""
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
            if other in theirs:  # else it was added by _fill_ties
                del result.mapped[theirs[other]]
                result.aliases[theirs[other]] = theirs[name]


def _fill_ties(result: Conversion) -> None:
    """Add the copies of shared parameters, which Hugging Face stores once, under the name of the first layer."""
    filled = set()
    for name in [name for name in result.state if re.match(r"heads\.(class|box)_heads\.0\.", name)]:
        kind, rest = re.fullmatch(r"heads\.(class|box)_heads\.0\.(.+)", name).groups()  # type: ignore[union-attr]
        copies = [f"heads.{kind}_heads.{layer}.{rest}" for layer in range(1, result.sizes.num_layers)]
        if result.sizes.two_stage:
            copies.append(f"selection.proposals.{kind}_head.{rest}")
        if any(other in result.state for other in copies):
            continue
        for other in copies:
            result.state[other] = result.state[name]
            filled.add(kind)
    if filled:
        result.notes.append(f"the {' and '.join(sorted(filled))} heads are in the file once, and serve all layers")


def _same(first: Tensor, second: Tensor) -> bool:
    return first is second or (first.shape == second.shape and bool(torch.equal(first, second)))


def _unknown(unknown: list[str], state: Mapping[str, Tensor], family: Family) -> str:
    return (
        f"the layout is {family.name}, but {len(unknown)} of {len(state)} keys have no rule, and none may be left "
        f"over: {listed(unknown, SHOWN)}"
    )


def nearest(name: str, others: Iterable[str]) -> str:
    """Return the most similar of other names as a hint for messages, or ""."""
    similar = difflib.get_close_matches(name, list(others), n=1, cutoff=0.8)
    return f" (is it {similar[0]}?)" if similar else ""
