"""Rows of weights that belong to a class, a query or a feature level, and how they move."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from querydet.checkpoint.class_maps import KnownMap
from querydet.checkpoint.class_matching import match_classes
from querydet.modeling.layers import MultiScaleDeformableAttention
from querydet.traits import trait

_CLASS_ROWS = re.compile(
    r"(heads\.(class_head|(class_heads|one_to_many_heads\.class)\.\d+)|selection\.(proposals|extra_proposals\.\d+)\.class_head)"
    r"\.(weight|bias)"
)
_LABEL_ROWS = re.compile(r"denoising\.(members\.\d+\.)?label_embed\.weight")
_QUERY_ROWS = re.compile(
    r"selection\.(extra_groups\.\d+\.)?"
    r"(content|position|patterns|anchors|embedding|extra_content|extra_(contents|positions)\.\d+)\.weight"
)
_LEVEL_ROWS = re.compile(r"(.*)\.(sampling_offsets|attention_weights)\.(weight|bias)")
_LEVEL_EMBED = "neck.level_embed"
_LEVEL_EMBEDS = (_LEVEL_EMBED, "decoder.level_embed.weight")
_LEVEL_GATE = re.compile(r"decoder\.layers\.\d+\.level_gate\.(weight|bias)")  # a row for each level
_ONE_MAP = "neck.projection.weight"  # of models with dense attention, which have one level


@dataclass(frozen=True)
class Adapted:
    """A weight in the model's shape.

    Args:
        value: the weight.
        fresh: description of its new rows; "" when there are none.
    """

    value: Tensor
    fresh: str = ""


@dataclass(frozen=True)
class ClassMap:
    """The classes of a model as those of a file.

    Args:
        rows: for each class of the model its number in the file; None for a new one.
        source_count: number of classes in the file.
        names: names of the model's classes.
        objectness: the first column of the proposals' class head means "an object", whatever the classes.
        summary: lines that describe the difference.
        no_object: class heads have a last row that belongs to no class.
    """

    rows: tuple[int | None, ...]
    source_count: int
    names: tuple[str, ...] = ()
    objectness: bool = False
    summary: tuple[str, ...] = ()
    no_object: bool = False

    @classmethod
    def between(
        cls,
        model: nn.Module,
        state: Mapping[str, Tensor],
        source: Sequence[str],
        target: Sequence[str],
        known: KnownMap | None = None,
    ) -> "ClassMap":
        """Find the classes of a model in a file.

        Raises:
            ValueError: the file has no class heads, names and counts contradict each other, or the file does not fit
                the map that is known.
        """
        own = model.state_dict()
        found = _class_head(own)
        if found is None or found not in state:
            found = _class_head(state)
        if found is None:
            raise ValueError(
                "the file has no class heads ('heads.class_heads...'): it is no detector of this project; convert it "
                "with querydet convert, or start from its backbone alone"
            )
        head = _class_head(own)
        assert head is not None
        after = int(getattr(getattr(model, "heads", None), "num_classes", len(own[head])))
        no_object = len(own[head]) > after  # DETR's heads have one more output, at the end
        before = len(state[found]) - no_object
        unused = known.first_row(before) if known is not None else 0
        for names, count, whose in ((source, before - unused, "the file's"), (target, after, "the model's")):
            if names and len(names) != count:
                raise ValueError(f"{len(names)} class names were given, but {whose} heads have {count} classes")
        objectness = trait(getattr(model, "selection", None), "class_agnostic")
        rows, summary = match_classes(before, after, source, target, known)
        return cls(rows, before, tuple(target), objectness, summary, no_object)

    def move(self, initial: Tensor, source: Tensor) -> Tensor:
        """Move the file's rows, one a class, to the model's places."""
        value = initial.clone()
        for row, origin in enumerate(self.rows):
            if origin is not None:
                value[row] = source[origin]
        return value

    def describe_fresh(self) -> str:
        """Describe the rows that are new; "" when there are none."""
        new = [index for index, origin in enumerate(self.rows) if origin is None]
        if not new:
            return ""
        return "the rows of " + ", ".join(self.names[index] if self.names else f"class {index}" for index in new)


@dataclass(frozen=True)
class LevelMap:
    """The feature levels of a model as those of a file.

    Args:
        before: number of levels in the file.
        after: number of levels in the model.
        shift: level of the model minus the same level of the file.
        backbone_maps: number of the file's levels that are maps of the backbone.
        summary: lines that describe the difference.
        new: levels of the model that the file does not have.
    """

    before: int
    after: int
    shift: int = 0
    backbone_maps: int = 0
    summary: tuple[str, ...] = ()
    new: tuple[int, ...] = field(default=())

    @classmethod
    def between(cls, model: nn.Module, state: Mapping[str, Tensor]) -> "LevelMap":
        """Find the levels of a model in a file.

        Raises:
            ValueError: the file has no levels, or they are of another backbone's maps.
        """
        own = model.state_dict()
        if _ONE_MAP in own and _ONE_MAP in state:
            return cls(1, 1)
        if _LEVEL_EMBED not in state:
            raise ValueError(
                f"the file has no '{_LEVEL_EMBED}': it is no detector of this project; convert it with "
                "querydet convert, or start from its backbone alone"
            )
        before, after = len(state[_LEVEL_EMBED]), len(own[_LEVEL_EMBED])
        source, target = _map_widths(state), _map_widths(own)
        common = min(len(source), len(target))
        if not common or source[-common:] != target[-common:]:
            raise ValueError(
                f"the file's neck reads backbone maps of {source} channels, the model's of {target}: levels can be "
                "added or removed, but the coarsest map must be the same; take the file's backbone"
            )
        shift = len(target) - len(source)
        new = tuple(level for level in range(after) if not 0 <= level - shift < before)
        summary = []
        if before != after or shift:
            lost = [str(level) for level in range(before) if not 0 <= level + shift < after]
            summary.append(
                f"levels: {before} in the file, {after} in the model"
                + (f"; new: {', '.join(map(str, new))}" if new else "")
                + (f"; not used: {', '.join(lost)} of the file" if lost else "")
            )
        return cls(before, after, shift, len(source), tuple(summary), new)

    def rename(self, key: str) -> str:
        """Return the model's name for a weight: projections of backbone maps move with the levels."""
        match = re.fullmatch(r"neck\.projections\.(\d+)\.(.*)", key)
        if match is None or not self.shift:
            return key
        number = int(match[1]) + self.shift
        return (
            f"neck.projections.{number}.{match[2]}" if number >= 0 else f"neck.projections.{match[1]}.unused.{match[2]}"
        )

    def move(self, initial: Tensor, source: Tensor, dim: int) -> Tensor:
        """Move the file's levels, along a dimension, to the model's places."""
        value = initial.clone()
        for level in range(self.after):
            if level not in self.new:
                value.select(dim, level).copy_(source.select(dim, level - self.shift))
        return value

    def describe_fresh(self) -> str:
        """Describe the levels that are new; "" when there are none."""
        return f"level {', '.join(map(str, self.new))}" if self.new else ""


def adapt_rows(
    key: str, initial: Tensor, source: Tensor, model: nn.Module, classes: ClassMap, levels: LevelMap
) -> Adapted | None:
    """Bring one weight of the file into the model's shape.

    Args:
        key: name of the weight.
        initial: the model's weight.
        source: the file's weight.
        model: the model, whose deformable attention defines the meaning of its rows.
        classes: how the classes of both sides correspond.
        levels: how the levels of both sides correspond.

    Returns:
        The weight; None when the shapes differ in a way that no rule explains.
    """
    if initial.dim() != source.dim():
        return None
    if _CLASS_ROWS.fullmatch(key) and initial.shape[1:] == source.shape[1:]:
        if classes.objectness and key.startswith("selection."):
            return _first_rows(initial, source, "columns without a meaning")
        value = classes.move(initial, source)
        if classes.no_object:
            value[-1] = source[-1]
        return Adapted(value, classes.describe_fresh())
    if _LABEL_ROWS.fullmatch(key) and initial.shape[1:] == source.shape[1:]:
        value = classes.move(initial, source)
        if len(initial) > len(classes.rows) and len(source) > classes.source_count:
            value[len(classes.rows)] = source[classes.source_count]  # the row of "no object"
        return Adapted(value, classes.describe_fresh())
    if _QUERY_ROWS.fullmatch(key) and initial.shape[1:] == source.shape[1:]:
        return _first_rows(initial, source, "queries")
    if (key in _LEVEL_EMBEDS or _LEVEL_GATE.fullmatch(key)) and initial.shape[1:] == source.shape[1:]:
        return Adapted(levels.move(initial, source, 0), levels.describe_fresh())
    if _LEVEL_ROWS.fullmatch(key):
        return _move_points(key, initial, source, model, levels)
    return Adapted(source.detach().clone().to(initial.dtype)) if initial.shape == source.shape else None


def _move_points(key: str, initial: Tensor, source: Tensor, model: nn.Module, levels: LevelMap) -> Adapted | None:
    attention = model.get_submodule(key.rsplit(".", 2)[0])
    assert isinstance(attention, MultiScaleDeformableAttention)
    rows = len(initial) // (attention.num_heads * attention.num_levels)
    if len(source) != attention.num_heads * levels.before * rows or initial.shape[1:] != source.shape[1:]:
        return None
    inner = (rows, *initial.shape[1:])
    moved = levels.move(
        initial.view(attention.num_heads, levels.after, *inner),
        source.view(attention.num_heads, levels.before, *inner),
        1,
    )
    return Adapted(moved.reshape(initial.shape), levels.describe_fresh())


def _first_rows(initial: Tensor, source: Tensor, what: str) -> Adapted:
    value, common = initial.clone(), min(len(initial), len(source))
    value[:common] = source[:common]
    return Adapted(value, f"{what} {common} to {len(initial) - 1}" if common < len(initial) else "")


def _class_head(state: Mapping[str, Tensor]) -> str | None:
    heads = [key for key in state if re.fullmatch(r"heads\.class_head(s\.\d+)?\.bias", key)]
    return heads[-1] if heads else None


def _map_widths(state: Mapping[str, Tensor]) -> list[int]:
    widths = {}
    for key, value in state.items():
        match = re.fullmatch(r"neck\.projections\.(\d+)\.conv\.weight", key)
        if match:
            widths[int(match[1])] = value.shape[1]
    return [widths[number] for number in sorted(widths)]
