"""What a pickle would build, found without building it: an unpickler whose values are notes.

A few hundred bytes can describe a list that takes years to walk, or a call that fills the memory. So every pickle
passes through here before an unpickler sees it. Nothing is imported, called or allocated; the cost is that of reading
the file. `Rules` say which names may occur and what calls may do.
"""

import pickletools
from collections.abc import Iterator, Sequence
from typing import Any

from querydet.checkpoint import limits
from querydet.checkpoint.limits import check_limit
from querydet.checkpoint.pickle_notes import Note, Refused, Rules
from querydet.utils.texts import shown

_PLAIN_KEYS = ("none", "bool", "int", "float", "str", "bytes")
_KEPT = 1000  # characters of a text that a note keeps
MAX_INTEGER = 255  # bytes
_HASH_MODULUS = 2**61 - 1  # of Python: larger integers can be chosen to collide in a dict
_SCALARS = {
    "none": ("NONE",),
    "bool": ("NEWTRUE", "NEWFALSE"),
    "int": ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    "float": ("FLOAT", "BINFLOAT"),
    "str": ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    "bytes": ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    "bytearray": ("BYTEARRAY8",),
}
_KIND_OF = {operation: kind for kind, operations in _SCALARS.items() for operation in operations}
_EMPTY = {"EMPTY_LIST": "list", "EMPTY_DICT": "dict", "EMPTY_TUPLE": "tuple", "EMPTY_SET": "set"}
_UNTIL_MARK = {"LIST": "list", "DICT": "dict", "TUPLE": "tuple", "FROZENSET": "frozenset"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_EXTENDING = {  # kind, and number of values; 0: all since the mark
    **{"APPEND": ("list", 1), "APPENDS": ("list", 0), "SETITEM": ("dict", 2), "SETITEMS": ("dict", 0)},
    "ADDITEMS": ("set", 0),
}
_REMEMBERING = ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET")


def read_graph(stream: Any, rules: Rules) -> Note:
    """Note what the next pickle of a stream would build, and leave the stream after it.

    Args:
        stream: has `read` and `readline`, and holds its content in memory or is mapped to it.
        rules: of what may occur.

    Raises:
        Refused: it holds something that the rules do not allow.
        TooLarge: it is beyond a limit.
        ValueError: it is cut off, or no pickle.
    """
    result = _Reader(rules).read(stream)
    _measure(result)
    return result


def _key_problem(key: Note) -> str | None:
    """Say what is wrong with a key of a dict or an item of a set; None: nothing."""
    if key.kind == "int":
        return None if abs(key.value) < _HASH_MODULUS else "an integer beyond 2^61"
    return None if key.kind in _PLAIN_KEYS else f"a {key.kind}"


def _operations(stream: Any) -> Iterator[tuple[str, Any]]:
    for _ in range(limits.MAX_OPERATIONS):
        code = stream.read(1)
        if not code:
            raise EOFError("the pickle ends early")
        operation = pickletools.code2op.get(code.decode("latin1"))  # type: ignore[attr-defined]
        if operation is None:
            raise ValueError(f"no pickle has the operation {code!r}")
        if operation.name == "STRING":  # of Python 2: any bytes, which pickletools takes for ASCII
            argument = stream.readline().decode("latin1").strip()[1:-1]
        else:
            argument = operation.arg.reader(stream) if operation.arg else None
        yield operation.name, argument
        if operation.name == "STOP":
            return
    check_limit(limits.MAX_OPERATIONS + 1, "operations of a pickle", "MAX_OPERATIONS")


class _Reader:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._stack: list[Note] = []
        self._marks: list[list[Note]] = []
        self._memo: dict[int, Note] = {}
        self._tuple_keys = 0

    def read(self, stream: Any) -> Note:
        for name, argument in _operations(stream):
            kind = _KIND_OF.get(name)
            if kind is not None:
                self._stack.append(_scalar(kind, name if kind == "bool" else argument))
            elif name in _EMPTY:
                self._stack.append(Note(_EMPTY[name], items=[]))
            elif name in _UNTIL_MARK:
                self._push(_UNTIL_MARK[name], self._to_mark())
            elif name in _TUPLES:
                self._push("tuple", self._last(_TUPLES[name]))
            elif name in _EXTENDING:
                kind, count = _EXTENDING[name]
                self._extend(kind, self._last(count) if count else self._to_mark())
            elif name in _REMEMBERING:
                self._remember(name, argument)
            else:
                self._name_or_call(name, argument)
        return self._stack.pop()

    def _push(self, kind: str, items: list[Note]) -> None:
        note = Note(kind, items=items)
        self._stack.append(note)
        self._check_items(note, items)

    def _last(self, count: int) -> list[Note]:
        if len(self._stack) < count:
            raise IndexError("a pickle that takes what is not there")
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _to_mark(self) -> list[Note]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _remember(self, name: str, argument: Any) -> None:
        if name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name.endswith("PUT"):
            check_limit(argument, "remembered values", "MAX_OPERATIONS")
            self._memo[argument] = self._stack[-1]
        else:
            self._stack.append(self._memo[argument])

    def _name_or_call(self, name: str, argument: Any) -> None:
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self._marks.append(self._stack)
                self._stack = []
            case "POP":
                self._stack.pop() if self._stack else self._to_mark()
            case "POP_MARK":
                self._to_mark()
            case "DUP":
                self._stack.append(self._stack[-1])
            case "GLOBAL":
                self._global(argument.replace(" ", "."))
            case "STACK_GLOBAL":
                module, attribute = self._last(2)
                self._global(f"{module.value}.{attribute.value}")
            case "REDUCE" | "NEWOBJ":
                function, arguments = self._last(2)
                self._call(function, arguments)
            case "BUILD":
                self._set_state(self._stack[-2], *self._last(1))
            case "BINPERSID":
                self._stack.append(self._rules.storage(self._stack.pop()))
            case _:
                raise Refused(
                    f"the operation {name} of a pickle{'' if argument is None else ' ' + shown(str(argument))}"
                )

    def _set_state(self, target: Note, state: Note) -> None:
        self._rules.check_state(target, state)
        if not isinstance(target.items, list):
            target.items = list(target.items)
        target.items.append(state)

    def _global(self, name: str) -> None:
        self._rules.check_global(name)
        self._stack.append(Note("global", name))

    def _call(self, function: Note, arguments: Note) -> None:
        if function.kind != "global" or arguments.kind != "tuple":
            raise Refused(f"a call of a {function.kind}")
        result = self._rules.call(function.value, arguments.items)
        self._check_items(result, result.items)
        self._stack.append(result)

    def _extend(self, kind: str, items: list[Note]) -> None:
        target = self._stack[-1]
        if target.kind != kind:
            raise Refused(f"items for a {target.kind}")
        self._check_items(target, items)
        assert isinstance(target.items, list)
        target.items.extend(items)

    def _check_items(self, target: Note, items: Sequence[Note]) -> None:
        """Refuse depth, as far as it shows already, and keys that take long to compare.

        A tuple of a few plain values is a key too, so many times.
        """
        for item in items:
            target.depth = max(target.depth, item.depth + 1)
        check_limit(target.depth, "lists in lists", "MAX_DEPTH")
        if target.kind not in ("dict", "set", "frozenset"):
            return
        if target.kind == "dict" and len(items) % 2:
            raise ValueError("a key without a value")
        for key in items[:: 2 if target.kind == "dict" else 1]:
            problem = _key_problem(key)
            if key.kind == "tuple" and len(key.items) <= 8 and not any(map(_key_problem, key.items)):
                self._tuple_keys += 1
                check_limit(self._tuple_keys, "tuples as keys", "MAX_TUPLE_KEYS")
            elif problem is not None:
                raise Refused(f"{problem} as a key")


def _scalar(kind: str, value: Any) -> Note:
    if kind in ("str", "bytes", "bytearray"):
        return Note(kind, value[:_KEPT] if kind == "str" else None, length=len(value))
    if kind == "bool":
        return Note(kind, value == "NEWTRUE")
    if kind == "int" and isinstance(value, int) and value.bit_length() > 8 * MAX_INTEGER:
        raise Refused(f"an integer of {value.bit_length():,} bits")
    return Note(kind, value)


def _measure(root: Note) -> None:
    """Count values, and depth, as somebody would who walks over all of them; refuse what holds itself."""
    path = [root]
    while path:
        note = path[-1]
        if note.size == 0:
            note.size = -1
            inner = [item for item in note.items if item.size <= 0]
            if any(item.size < 0 for item in inner):
                raise Refused(f"a {note.kind} that holds itself")
            path.extend(inner)
            continue
        path.pop()
        if note.size > 0:
            continue
        note.size = 1 + sum(item.size for item in note.items)
        note.depth = 1 + max((item.depth for item in note.items), default=0)
        check_limit(note.size, "values, counted wherever they are used", "MAX_ITEMS")
        check_limit(note.depth, "lists in lists", "MAX_DEPTH")
