"""Weights of one detector for another: other classes, queries, groups of queries, feature levels, or masks.

Weights with the same meaning in both are kept. New weights are newly initialized, or copied from the part that they
are made from. Any other difference is an error, so that a wrong file is noticed.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from querydet.checkpoint.class_maps import KnownMap
from querydet.checkpoint.part_loading import of_parts
from querydet.checkpoint.surgery_rules import ClassMap, LevelMap, adapt_rows
from querydet.checkpoint.training_only import training_only_keys

# Parts that may come and go: groups of queries, denoising, one-to-many branches, levels, masks.
_OPTIONAL = re.compile(
    r"masks\.|denoising\.|heads\.one_to_many_heads\.|decoder\.layers\.\d+\.read_out\.|neck\.(extra_)?projections\.\d+\."
    r"|selection\.(extra_(proposals|contents|positions|groups)\.\d+|extra_content|content)\."
)
# Origins of new parts that start as copies: the constructors do the same with untrained weights.
_COPIED_FROM = (
    (re.compile(r"selection\.extra_proposals\.\d+\.(class_head|box_head|norm)\."), r"selection.proposals.\1."),
    (re.compile(r"selection\.extra_contents\.\d+\.(linear|norm)\."), r"selection.content.\1."),
    (re.compile(r"heads\.one_to_many_heads\.(class|box)\."), r"heads.\1_heads."),
)


@dataclass
class Surgery:
    """A state dict made to fit a model, and the changes that this took.

    Args:
        state: complete and of the model's shapes.
        summary: differences of the two models, one a line.
        fresh: names, or rows of them, that keep their initial values.
        copied: names that start as copies of others.
        dropped: names of the file that the model does not have.
        problems: differences that surgery does not cover.
    """

    state: dict[str, Tensor] = field(default_factory=dict)
    summary: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """Describe all changes in words."""
        titles = ("newly initialized", "initialized as a copy", "not used from the file", "does not fit")
        parts = [*self.summary]
        for title, lines in zip(titles, (self.fresh, self.copied, self.dropped, self.problems), strict=True):
            if lines:
                parts.append("\n    ".join([f"{title} ({len(lines)}):", *lines]))
        return "\n  ".join(parts) if parts else "nothing differs"


def adapt(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source_classes: Sequence[str] = (),
    target_classes: Sequence[str] = (),
    parts: Collection[str] = (),
    class_map: KnownMap | None = None,
) -> Surgery:
    """Make weights of a similar detector fit a model.

    Classes are found by name where both sides are named (without regard to case and surrounding blanks), else by
    number if there are equally many, else all keep their initial values. A class map finds those of other names
    too. Of ranked or learned queries the first are kept; further ones are drawn as the model draws them. Levels
    correspond by their resolution, counted from the coarsest backbone map.

    Args:
        model: freshly built; it is not changed.
        state: weights of a detector of this project.
        source_classes: names of the classes of these weights, in order.
        target_classes: names of the model's classes, in order.
        parts: names of the parts of the model to take from the weights, such as "encoder"; none: all.
        class_map: says which classes of other names mean the same, see `class_maps.CLASS_MAPS`.

    Returns:
        A complete state dict of the model's shapes, or that of the parts, and the changes; tensors are shared with
        neither side.

    Raises:
        ValueError: the weights are of another kind of model, names and class counts contradict each other, or the
            weights do not fit the class map.
    """
    done = Surgery()
    weights = model.state_dict()
    own = {key: weights[key] for key in of_parts(weights, parts)}
    levels = LevelMap.between(model, state)
    classes = ClassMap.between(model, state, source_classes, target_classes, class_map)
    done.summary += [*classes.summary, *levels.summary]
    source = _rename(state, own, levels)
    for key, initial in own.items():
        if key not in source:
            continue
        adapted = adapt_rows(key, initial, source[key], model, classes, levels)
        if adapted is None:
            shapes = f"{tuple(source[key].shape)} in the file, {tuple(initial.shape)} in the model"
            done.problems.append(f"{key}: {shapes}: no difference of classes, queries, groups, levels or masks")
            continue
        done.state[key] = adapted.value
        if adapted.fresh:
            done.fresh.append(f"{key}: {adapted.fresh}")
    optional = training_only_keys(model)
    for key, initial in own.items():
        if key not in source:
            _fill(key, initial, done, optional)
    unused = [key for key in of_parts(source, parts) if key not in own]
    done.dropped += [key for key in unused if _OPTIONAL.match(key)]
    done.problems += [f"{key}: in the file but not in the model" for key in unused if not _OPTIONAL.match(key)]
    _refuse_problems(done)
    return done


def _refuse_problems(done: Surgery) -> None:
    if done.problems:
        raise ValueError(
            f"the checkpoint is not one of a similar detector\n  {done.describe()}\n  Start from a config that differs "
            "in classes, queries, groups, levels and masks alone (train.init_surgery), or load what fits by name and "
            "shape with train.init_allow_mismatch=True"
        )


def _fill(key: str, initial: Tensor, done: Surgery, optional: set[str]) -> None:
    """Set a weight that the file does not have to its first value."""
    original = _original(key, done.state)
    if original is not None:
        done.state[key] = done.state[original].clone()
        done.copied.append(f"{key} of {original}")
        return
    done.state[key] = initial.clone()
    if key in optional or _OPTIONAL.match(key):
        done.fresh.append(key)
    else:
        done.problems.append(f"{key}: missing in the file")


def _original(key: str, state: Mapping[str, Tensor]) -> str | None:
    """Return the name of the weight that a new one is copied from; None when there is none."""
    for pattern, replacement in _COPIED_FROM:
        original = pattern.sub(replacement, key)
        if original != key and original in state:
            return original
    kind = re.fullmatch(r"heads\.class_heads\.\d+\.(weight|bias)", key)
    if kind is None:
        return None
    # files for inference alone have none but the last layer's
    others = [name for name in state if re.fullmatch(rf"heads\.class_heads\.\d+\.{kind[1]}", name)]
    return others[-1] if others else None


def _rename(state: Mapping[str, Tensor], own: Mapping[str, Tensor], levels: LevelMap) -> dict[str, Tensor]:
    """Return the file's weights under the model's names for the same parts."""
    grouped = any(key.startswith("denoising.members.") for key in own)
    renamed = {}
    for key, value in state.items():
        if grouped:
            key = re.sub(r"^denoising\.(?!members\.)", "denoising.members.0.", key)
        elif key.startswith("denoising.members.0.") and "denoising.label_embed.weight" in own:
            key = key.replace("members.0.", "", 1)
        renamed[levels.rename(key)] = value
    return renamed
