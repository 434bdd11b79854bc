"""Downloads that are cached, resumed and verified, and never appear half-written under their name."""

import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException

from iopath.common.file_io import file_lock

from querydet.utils.digest import hash_file

PART = ".part"
NOTES = ".json"  # beside a file: where it is from and its checksum; beside a part: which version it is a part of
CHUNK = 1 << 20
MAX_FILE = 100 * 10**9  # bytes of a download: a server that never ends must not fill the disk
MAX_NOTES = 1 << 16  # bytes that are read of the notes
RETRIES = 5
TIMEOUT = 30.0  # seconds without a byte

logger = logging.getLogger(__name__)


class Unavailable(ConnectionError):
    """A file cannot be downloaded, now or at all."""


def download(
    url: str,
    path: str,
    *,
    sha256: str | None = None,
    check: Callable[[str], object] | None = None,
    retries: int = RETRIES,
    wait: float = 1.0,
) -> str:
    """Download a file unless it is there, complete and unchanged.

    A file that is already there is compared with ``sha256``, else with the checksum noted when it was downloaded.

    Args:
        url: http or https.
        path: where the file goes. Processes that need the same one wait for each other.
        sha256: checksum of the file, where it is known.
        check: called with the path of the file; raises ValueError for a file that cannot be the right one.
        retries: number of times that a broken connection is taken up again.
        wait: seconds before the first of them, doubled each time.

    Returns:
        ``path``.

    Raises:
        FileNotFoundError: there is no such file at the address.
        Unavailable: the server refuses, or does not deliver the whole file in all attempts; what came is kept, and the
            next call goes on from there.
        ValueError: the file has another checksum, or ``check`` refuses it; it is removed. Or the address is not http.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"cannot download {url}: only http and https addresses")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with file_lock(path):
        if os.path.isfile(path) and is_intact(path, sha256):
            return path
        part = path + PART
        try:
            _fetch(url, part, retries, wait)
            digest = hash_file(part)
            if sha256 is not None and digest != sha256:
                raise ValueError(
                    f"{url} has the sha256 {digest}, not {sha256}: it was changed or replaced. Nothing was kept; use "
                    "it only if its authors say why"
                )
            if check is not None:
                check(part)
        except ValueError:
            _forget(part)
            raise
        _write_notes(path, {"url": url, "sha256": digest})
        os.replace(part, path)
        _forget(part)
    return path


def is_intact(path: str, sha256: str | None) -> bool:
    """Return whether a downloaded file is unchanged; True for one that was put there by hand and is in no list."""
    wanted = sha256 or _read_notes(path).get("sha256")
    if wanted is None or hash_file(path) == wanted:
        return True
    logger.warning("%s does not have its checksum any more and is downloaded again", path)
    return False


def _fetch(url: str, part: str, retries: int, wait: float) -> None:
    """Repeat attempts until the part is the whole file."""
    for attempt in range(retries + 1):
        try:
            if _attempt(url, part):
                return
            problem = "the connection ended before the file did"
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                raise FileNotFoundError(f"{url} does not exist (any more): the server answers {error.code}") from error
            if error.code == 416:
                if error.headers.get("Content-Range", "") == f"bytes */{_size(part)}":
                    return  # nothing is left to ask for
                _forget(part)  # not a part of what is there now
            elif error.code < 500 and error.code != 429:
                raise Unavailable(f"{url} is refused by the server: {error.code} {error.reason}") from error
            problem = f"the server answers {error.code} {error.reason}"
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            problem = f"{type(error).__name__}: {error}"
        if attempt < retries:
            logger.warning("%s: %s; trying again from byte %d", url, problem, _size(part))
            time.sleep(wait * 2**attempt)
    raise Unavailable(
        f"{url} could not be downloaded: {problem}. {_size(part):,} bytes are kept in {part}; call again to go on from "
        "there, or put the file there by other means, under the name without .part"
    )


def _attempt(url: str, part: str) -> bool:
    """Request the file from where the part ends; return whether it is complete now."""
    start, notes = _size(part), _read_notes(part)
    request = urllib.request.Request(url, headers={"User-Agent": "querydet"})
    if start and notes.get("version"):
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", notes["version"])
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        goes_on = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        start = start if goes_on else 0
        # without a strong version a part could be joined to another file
        version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        _write_notes(part, {"version": "" if version.startswith("W/") else version})
        length = response.headers.get("Content-Length")
        logger.info("%s: downloading %s bytes from byte %d", url, length or "an unknown number of", start)
        with open(part, "r+b" if goes_on else "wb") as file:
            file.seek(start)
            file.truncate()
            while chunk := response.read(CHUNK):
                if file.tell() + len(chunk) > MAX_FILE:
                    raise ValueError(f"{url} sends more than {MAX_FILE:,} bytes, which no weights have")
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    return length is None or _size(part) == start + int(length)


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _forget(part: str) -> None:
    for path in (part, part + NOTES):
        if os.path.exists(path):
            os.remove(path)


def _read_notes(path: str) -> dict[str, str]:
    try:
        with open(path + NOTES, encoding="utf-8") as file:
            found = json.loads(file.read(MAX_NOTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_notes(path: str, notes: dict[str, str]) -> None:
    with open(path + NOTES, "w", encoding="utf-8") as file:
        json.dump(notes, file)
