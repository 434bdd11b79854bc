"""Reading YAML from others as plain dicts, lists, numbers and texts, in bounded time and memory.

YAML can name Python objects (tags), repeat parts (aliases and merge keys) and nest without end; OmegaConf can call
functions from inside a text (resolvers). Of all this there is left what saved configs need: names of parts, which stand
for themselves, repeated parts up to a limit, and references to other keys.
"""

import os
import re
import stat
from collections.abc import Iterator
from typing import Any, ClassVar

import yaml
from omegaconf import DictConfig, ListConfig, Node
from omegaconf.errors import OmegaConfBaseException

from querydet.config.migration import moved_name

MAX_BYTES = 250_000  # of the file; the largest shipped config has 30 thousand
MAX_VALUES = 20_000  # keys and entries, with repeated parts and references counted each time; shipped: 1,500
MAX_REFERENCES = 1_000  # shipped: 30
MAX_REFERENCE = 500  # characters of a text that holds one: OmegaConf reads it recursively
MAX_DEPTH = 100
MAX_TEXT = 4_000_000  # characters of all values together, with references filled in
MAX_DIGITS = 100  # of a number

# The name of another key; the dots in front are levels up. No name in it starts a resolver, and none is put together.
_REFERENCE = re.compile(r"\$\{\.*\w+(\.\w+|\[\w+\])*\}")


class Name(str):
    """The name of a class or function that stands for itself, such as the block of a ResNet."""


def _refusal(problem: str, where: yaml.Node | yaml.Event) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, where.start_mark)


class _Loader(yaml.SafeLoader):
    """Plain values; a tuple of Python, which is harmless, becomes a list."""

    # none of SafeLoader's: binary data, dates, sets and pairs are among them
    yaml_constructors: ClassVar[dict[Any, Any]] = {}
    yaml_multi_constructors: ClassVar[dict[Any, Any]] = {}

    composed = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Stop at the limit already here: what follows takes much longer to read."""
        self.composed += 1
        if self.composed > 2 * MAX_VALUES:  # keys count too
            raise _refusal(f"it has more than {MAX_VALUES} values", self.peek_event())
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse merge keys, with which a short text makes a list without end."""
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise _refusal("merge keys (<<) are not supported", key)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Read a number of a reasonable length: Python reads a long one in quadratic time."""
        if len(node.value) > MAX_DIGITS:
            raise _refusal(f"a number of {len(node.value)} characters, and at most {MAX_DIGITS} are read", node)
        whole = node.tag.endswith(":int")
        number: int | float = (self.construct_yaml_int if whole else self.construct_yaml_float)(node)
        return number

    def construct_name(self, suffix: str, node: yaml.Node) -> Name:
        """Read the name of a class or function."""
        return Name(moved_name(suffix))

    def refuse(self, suffix: str, node: yaml.Node) -> None:
        """Refuse every other tag."""
        raise _refusal(f"the tag {node.tag} makes an object, which can run code; nothing was run", node)


for _tag, _construct in {
    "null": yaml.SafeLoader.construct_yaml_null,
    "bool": yaml.SafeLoader.construct_yaml_bool,
    "int": _Loader.construct_number,
    "float": _Loader.construct_number,
    "str": yaml.SafeLoader.construct_yaml_str,
    "timestamp": yaml.SafeLoader.construct_yaml_str,
    "seq": yaml.SafeLoader.construct_yaml_seq,
    "python/tuple": yaml.SafeLoader.construct_yaml_seq,
    "map": yaml.SafeLoader.construct_yaml_map,
}.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct)
_Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", _Loader.construct_name)
_Loader.add_multi_constructor("", _Loader.refuse)


def read_plain_yaml(path: str) -> dict[str, Any]:
    """Read a YAML file as plain values, with `Name` for names of Python, and references not yet filled in.

    Args:
        path: path of the file.

    Raises:
        ValueError: the file is no mapping of names, holds a tag, a resolver or a merge key, or is beyond a limit.
    """
    try:
        content = yaml.load(_read_text(path), Loader=_Loader)
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ValueError(
            f"config '{path}' was refused: {error.problem} at line {line}. A config that needs this has to be written "
            "in Python"
        ) from error
    except RecursionError as error:
        raise ValueError(f"config '{path}' was refused: it is nested deeper than {MAX_DEPTH} levels") from error
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"config '{path}' is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"config '{path}' holds {type(content).__name__} instead of keys and values")
    for place, value in walk(content, path):
        _check_key(place, path)
        if isinstance(value, str):
            _check_references(value, place, path)
    return content


def _read_text(path: str) -> str:
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is no file")
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    return data.decode("utf-8-sig")


def walk(content: Any, path: str) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every value below a node with its keys, parts before what they hold; references are filled in.

    Args:
        content: plain values, or a node of OmegaConf.
        path: of the file, for messages.

    Raises:
        ValueError: there is more than one of the limits allows, or a reference leads nowhere or in a circle.
    """
    values = text = references = 0
    left: list[tuple[tuple[Any, ...], Any]] = [((), content)]
    while left:
        keys, node = left.pop()
        if keys:
            yield keys, node
        references += _count_references(node)
        try:
            children = _children(node) if references <= MAX_REFERENCES else []
        except (OmegaConfBaseException, RecursionError) as error:
            place = getattr(error, "full_key", None) or dotted(keys)
            problem = "too many in a row" if isinstance(error, RecursionError) else str(error).partition("\n")[0]
            raise ValueError(f"config '{path}': the reference at '{place}' cannot be followed: {problem}") from error
        values += len(children)
        text += len(node) if isinstance(node, str) else 0
        if len(keys) > MAX_DEPTH or values > MAX_VALUES or text > MAX_TEXT or references > MAX_REFERENCES:
            raise ValueError(
                f"config '{path}' was refused: with repeated parts it has more than {MAX_DEPTH} levels, {MAX_VALUES} "
                f"values, {MAX_TEXT} characters or {MAX_REFERENCES} references"
            )
        left += [((*keys, key), value) for key, value in reversed(children)]


def _children(node: Any) -> list[tuple[Any, Any]]:
    if isinstance(node, DictConfig | ListConfig) and (node._is_none() or node._is_missing()):
        return []
    if isinstance(node, DictConfig):  # values that are still to be given, ???, stay what they are
        return [(key, node[key]) for key in node if not _is_missing(node, key)]
    if isinstance(node, dict):
        return list(node.items())
    if isinstance(node, list | ListConfig):
        return list(enumerate(node))
    return []


def _count_references(node: Any) -> int:
    if not isinstance(node, DictConfig | ListConfig) or node._is_none() or node._is_missing():
        return 0
    raw: list[Any] = [node._get_node(key) for key in (list(node) if isinstance(node, DictConfig) else range(len(node)))]
    return sum(child._is_interpolation() for child in raw if isinstance(child, Node))


def _is_missing(node: DictConfig, key: Any) -> bool:
    child = node._get_node(key)
    return isinstance(child, Node) and child._is_missing()


def dotted(keys: tuple[Any, ...]) -> str:
    """Return keys as one, such as ``model.heads.0``."""
    return ".".join(map(str, keys))


def _check_key(keys: tuple[Any, ...], path: str) -> None:
    if not isinstance(keys[-1], str | int | float):
        raise ValueError(f"config '{path}' was refused: the key {keys[-1]!r} in '{dotted(keys[:-1])}' is no name")


def _check_references(text: str, keys: tuple[Any, ...], path: str) -> None:
    """Refuse everything but one reference to a key: resolvers run code, and references to references grow without end.

    What is left has no ``$``, so that no new reference comes out when the text is put together.
    """
    if calls_function(text):
        raise ValueError(
            f"config '{path}' was refused: {dotted(keys)} is {text!r}. A text in YAML may only refer to one "
            "other key, as in ${train.output_dir}; functions (resolvers), the environment and names that are put "
            "together need a config in Python"
        )


def calls_function(text: str) -> bool:
    """Whether a text holds more of OmegaConf's syntax than one reference to another key."""
    if "${" not in text:
        return False
    rest = _REFERENCE.sub("", text, count=1)
    return len(text) > MAX_REFERENCE or "$" in rest or "\\" in rest
