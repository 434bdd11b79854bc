"""File names of a COCO json: those that cannot be right, and the files that they probably mean."""

import os
import re
import time
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

# Where the search for the file that a name means ends: a config or json of others may name any folder.
MOST_FILES = 2_000_000
MOST_SECONDS = 8.0


def fault_of(file_name: Any, folder: str = "") -> str:
    """Return what is wrong with a file name of the json, "" for nothing that shows in the name.

    Args:
        file_name: of an image.
        folder: of the images; "" where it is not known.
    """
    if file_name is None or file_name == "":
        return "file_name is missing"
    if not isinstance(file_name, str):
        return "file_name is no text"
    if "\0" in file_name:
        return "file_name has a null character"
    parts = re.split(r"[/\\]", file_name)
    if folder and os.path.isabs(file_name) and is_inside(file_name, folder):
        return "file_name is an absolute path"
    if parts[0] == "" or re.fullmatch("[A-Za-z]:", parts[0]):
        return "file_name leaves the image folder"
    if re.fullmatch("[a-z][a-z0-9+.-]+:", parts[0]) and len(parts) > 2 and parts[1] == "":
        return "file_name is an address, not a path in the image folder"
    depth = 0
    for part in parts:
        depth += (part not in ("", ".")) - 2 * (part == "..")
        if depth < 0:
            return "file_name leaves the image folder"
    return ""


def is_inside(path: str, folder: str) -> bool:
    """Return whether a path lies in a folder, by its name alone."""
    path, folder = os.path.abspath(path), os.path.abspath(folder)
    return os.path.commonpath([path, folder]) == folder and path != folder


class FolderIndex:
    """Files of an image folder, and the way from a name that does not exist to the one that was meant.

    Args:
        folder: of the images; read once, when the first name is looked for.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names: dict[str, str] | None = None
        self._by: list[dict[str, list[str]]] = []

    def candidate(self, name: Any) -> tuple[str, str]:
        """Find the one file that a name means.

        Args:
            name: file name of the json.

        Returns:
            The file's name relative to the folder and what distinguishes the two; ("", "") when there is none, or
            several that it may mean.
        """
        if not isinstance(name, str) or not name or "\0" in name:
            return "", ""
        if self._names is None:
            self._read()
        if os.path.isabs(name) and is_inside(name, self._folder):
            inside = os.path.relpath(os.path.abspath(name), os.path.abspath(self._folder))
            return (inside, "relative to the image folder") if inside in (self._names or {}) else ("", "")
        for reason, change in _CHANGES:
            changed = change(name)
            if changed != name and os.path.normpath(changed) in (self._names or {}):
                return os.path.normpath(changed), reason
        plain = _plain(name)
        suffixes = ["/".join(plain.split("/")[start:]) for start in range(plain.count("/") + 1)]
        for text, reason in zip(suffixes, ["spelt otherwise", *["in another folder"] * len(suffixes)], strict=False):
            found = self._by[0].get(text, [])
            if len(found) == 1:
                return found[0], reason
            if found:
                return "", ""
        for text, reason in ((suffixes[-1], "in another folder"), *_shorter(suffixes[-1])):
            found = self._by[1].get(text, [])
            if found:
                return (found[0], reason) if len(found) == 1 else ("", "")
        found = self._by[2].get(suffixes[-1], [])
        return (found[0], "with an extension") if len(found) == 1 else ("", "")

    def hint(self, name: Any) -> str:
        """Return " (there is 'x': reason)" for a message, or ""."""
        found, reason = self.candidate(name)
        return f" (there is '{found}': {reason})" if found else ""

    def _read(self) -> None:
        self._names = {}
        self._by = [{}, {}, {}]
        end = time.monotonic() + MOST_SECONDS
        for name in _walk(self._folder, end):
            if len(self._names) == MOST_FILES or time.monotonic() > end:
                break
            self._names[name] = name
            plain = _plain(name)
            self._by[0].setdefault(plain, []).append(name)
            last = plain.rpartition("/")[2]
            self._by[1].setdefault(last, []).append(name)
            self._by[2].setdefault(os.path.splitext(last)[0], []).append(name)
        if len(self._names) == MOST_FILES or time.monotonic() > end:
            self._by = [{}, {}, {}]  # nobody knows whether a name like another is the only one


def _walk(folder: str, end: float) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        if time.monotonic() > end:  # folders without files take time too
            folders.clear()
        folders.sort()
        for name in sorted(files):
            yield os.path.normpath(os.path.relpath(os.path.join(parent, name), folder))


def _shorter(name: str) -> Iterator[tuple[str, str]]:
    """Yield what is left of a name without what exporters put before it, with the reason."""
    query = name.rpartition("?d=")[2]
    if query != name:
        yield query, "an address of Label Studio's local files"
    upload = re.sub(r"^[0-9a-f]{8}-", "", query)
    if upload != query:
        yield upload, "without the number of an upload to Label Studio"


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _plain(name: str) -> str:
    """Return a name without anything that exporters and file systems change on the way."""
    name = _slashes(urllib.parse.unquote(name, errors="replace"))
    name = os.path.normpath(name.lstrip("/"))
    return unicodedata.normalize("NFC", name).casefold()


_CHANGES: list[tuple[str, Callable[[str], str]]] = [
    ("backslashes are slashes there", _slashes),
    ("%20 and the like stand for other characters", urllib.parse.unquote),
    ("composed letters (NFC) are decomposed there (NFD)", lambda name: unicodedata.normalize("NFD", name)),
    ("decomposed letters (NFD) are composed there (NFC)", lambda name: unicodedata.normalize("NFC", name)),
]
