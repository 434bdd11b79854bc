"""Reading of the lists of a large json, some entries at a time, with the standard library's decoder.

Streaming parsers refuse what Python's decoder takes, as NaN and UTF-16, so that a data set would be valid or not
depending on its size. Entries are therefore decoded one by one, from a text that is read in pieces.
"""

import codecs
import hashlib
import json
import re
from collections.abc import Callable, Collection, Generator, Iterator
from typing import Any

from querydet.data.json_file import encoding_error, open_json

PIECE = 1 << 22  # bytes that are read at once
BATCH = 10_000  # entries that are handed on at once
# characters before the end of a piece in which a number may go on, or an error only mean that more has to be read
LEAST_LEFT = 64
_SPACE = re.compile(r"[ \t\n\r]*")
Batch = tuple[str, int, list[Any]]


class JsonLists:
    """The lists of the object that a json file holds.

    Args:
        path: of the file.
        keys: lists that are read in batches. Other values are read whole, except for lists, which are skipped.
        progress: called with the number of bytes after every piece that was read.

    Attributes:
        others: the values of other keys that are no lists, and of `keys` that are no lists.
        seen: keys of lists that were found, read or skipped.
        order: all keys, as they stand in the file.
        top: of a file whose top level is a list, as many times its first entry; its value where it is neither object
            nor list.
        is_object: whether the top level is an object.
    """

    def __init__(self, path: str, keys: Collection[str], progress: Callable[[int], Any] = lambda size: None) -> None:
        self.others: dict[str, Any] = {}
        self.seen: set[str] = set()
        self.order: list[str] = []
        self.top: Any = None
        self.is_object = True
        self._path = path
        self._keys = keys
        self._progress = progress
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Return the digest of the bytes of the file, once all of it was read."""
        return self._digest.hexdigest()

    def __iter__(self) -> Generator[Batch]:
        """Yield (key, position of the first entry, entries) of the lists in the order of the file.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: it cannot be read, is not json, is in another encoding, or has a key twice at the top level.
        """
        with open_json(self._path) as file:
            text = _Text(self._path, file, self._digest, self._progress)
            if text.peek() != "{":
                self.is_object = False
                self.top = self._entries(text) if text.peek() == "[" else text.value()
                text.need_end()
                return
            text.skip()
            while (mark := text.peek()) != "}":
                if self.order:
                    text.need(mark, ",")
                text.expect('"')
                key = text.value()
                text.need(text.peek(), ":")
                if key in self.seen or key in self.others:
                    raise ValueError(f"annotation file {self._path} has the key {key!r} twice at the top level")
                self.order.append(key)
                if text.peek() == "[":
                    self.seen.add(key)
                    yield from self._batches(key, text)
                else:
                    self.others[key] = text.value()
            text.skip()
            text.need_end()

    def _batches(self, key: str, text: "_Text") -> Iterator[Batch]:
        position, batch = 0, list[Any]()
        for value in text.entries():
            batch.append(value)
            if len(batch) == BATCH:
                if key in self._keys:
                    yield key, position, batch
                position, batch = position + len(batch), []
        if batch and key in self._keys:
            yield key, position, batch

    @staticmethod
    def _entries(text: "_Text") -> list[Any]:
        """Return as many times the first entry of a list as it has entries."""
        top: list[Any] = []
        for value in text.entries():
            top.append(top[0] if top else value)
        return top


class _Text:
    """The text of a file, read piece by piece, with a place in it."""

    def __init__(self, path: str, file: Any, digest: Any, progress: Callable[[int], Any]) -> None:
        self._path, self._file, self._digest, self._progress = path, file, digest, progress
        self._decode = json.JSONDecoder().raw_decode
        self._text, self._place = "", 0
        self._characters = self._bytes = 0  # before the text
        self._ended = False
        first = file.read(4)
        file.seek(0)
        self._decoder = codecs.getincrementaldecoder(json.detect_encoding(first))("surrogatepass")

    def peek(self) -> str:
        """Return the next character that is no space; "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._place)
            assert match is not None
            self._place = match.end()
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._read():
                return ""

    def skip(self) -> None:
        """Go on by a character."""
        self._place += 1

    def need(self, found: str, expected: str) -> None:
        """Go on if the next character is the expected one."""
        if found != expected:
            raise self._error(f"Expecting '{expected}'", self._place)
        self._place += 1

    def expect(self, expected: str) -> None:
        """Check the next character that is no space."""
        if self.peek() != expected:
            raise self._error(f"Expecting '{expected}'", self._place)

    def need_end(self) -> None:
        """Check that nothing follows."""
        if self.peek():
            raise self._error("Extra data", self._place)

    def value(self) -> Any:
        """Return the next value."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._place)
            except json.JSONDecodeError as error:
                self._read_on(error.msg, error.pos)
            except RecursionError as error:
                raise self._error(str(error), self._place) from error
            else:
                # a number may go on: of "1.5", and of "1e5", the text may have "1." or "1e"
                if self._ended or end < len(self._text) - LEAST_LEFT:
                    self._place = end
                    return value
                self._read()

    def entries(self) -> Iterator[Any]:
        """Yield the values of the list that begins here."""
        self.skip()
        if self.peek() == "]":
            self.skip()
            return
        while True:
            yield self.value()
            mark = self.peek()
            if mark == "]":
                self.skip()
                return
            self.need(mark, ",")

    def _read_on(self, message: str, place: int) -> None:
        """Read more text after an error, unless no text could mend it."""
        open_string = message.startswith("Unterminated string")
        if not open_string and place < len(self._text) - LEAST_LEFT:
            raise self._error(message, place)
        # as much again, so that values of many pieces are not decoded once for each of these
        if not self._read(max(PIECE, len(self._text) - self._place)):
            raise self._error(message, place)

    def _read(self, size: int = 0) -> bool:
        """Add a piece of the file to the text; return whether there was one."""
        if self._ended:
            return False
        try:
            piece = self._file.read(size or PIECE)
        except OSError as error:
            raise ValueError(f"annotation file {self._path} cannot be read: {error}") from error
        self._digest.update(piece)
        self._progress(len(piece))
        self._ended = not piece
        try:
            more = self._decoder.decode(piece, final=self._ended)
        except UnicodeDecodeError as error:
            before = self._bytes + len(piece) - len(error.object)  # which begins with what was left of the last piece
            raise encoding_error(self._path, error, before) from error
        self._bytes += len(piece)
        self._characters += self._place
        self._text, self._place = self._text[self._place :] + more, 0
        return bool(more) or not self._ended

    def _error(self, message: str, place: int) -> ValueError:
        where = f"{message} at character {self._characters + place}"
        return ValueError(f"annotation file {self._path} is not valid json: {where}")
