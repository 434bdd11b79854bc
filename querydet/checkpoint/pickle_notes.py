"""Notes on the values of a pickle, and rules of what it may hold: the words of `pickle_graph`."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from querydet.checkpoint import limits
from querydet.checkpoint.limits import TooLarge


class Refused(pickle.UnpicklingError):
    """A pickle holds something else than weights and plain values."""


class Note:
    """Stands for a value of a pickle.

    Args:
        kind: "str", "list" ... of Python's types; "global", "call", "storage".
        value: of a number; the beginning of a text; the name of a global or of what is called.
        items: what it holds; of a dict keys and values in turn; of a call its arguments.
        length: bytes of a text.
    """

    __slots__ = ("depth", "items", "kind", "length", "size", "value")

    def __init__(self, kind: str, value: Any = None, items: Sequence["Note"] = (), length: int = 0) -> None:
        self.kind = kind
        self.value = value
        self.items = items
        self.length = length
        self.size = 0  # number of values in it, itself included; 0: not counted yet, -1: being counted
        self.depth = 0


class Rules(Protocol):
    """What a pickle may name, and what calls of it may do. Every method raises `Refused` or `TooLarge`."""

    def check_global(self, name: str) -> None:
        """Refuse a name that must not occur."""

    def call(self, name: str, arguments: Sequence[Note]) -> Note:
        """Return the note of a call's result."""

    def check_state(self, target: Note, state: Note) -> None:
        """Refuse a state that must not be set."""

    def storage(self, identity: Note) -> Note:
        """Return the note of something outside of the pickle."""


class NoNames:
    """The rules of a pickle of plain values."""

    def check_global(self, name: str) -> None:
        """Refuse every name."""
        raise Refused(name)

    def call(self, name: str, arguments: Sequence[Note]) -> Note:
        """Refuse every call."""
        raise Refused(name)

    def check_state(self, target: Note, state: Note) -> None:
        """Refuse every state."""
        raise Refused("the state of an object")

    def storage(self, identity: Note) -> Note:
        """Refuse everything outside of the pickle."""
        raise Refused("a reference to something outside the file")


@dataclass
class Budget:
    """Bytes that calls may make of a file.

    Args:
        file_size: bytes of the file.
    """

    file_size: int
    used: int = 0

    def charge(self, count: int, what: str) -> None:
        """Add bytes.

        Raises:
            TooLarge: they are too many for the file.
        """
        self.used += count
        if self.used > limits.MAX_EXPANSION * self.file_size + limits.FREE_EXPANSION:
            raise TooLarge(f"{what} of {self.used:,} bytes in a file of {self.file_size:,} bytes", "MAX_EXPANSION")
