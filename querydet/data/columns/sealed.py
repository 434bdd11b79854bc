"""Json files with a digest of what they hold, so that damage is noticed before anything is made of it."""

import hashlib
import json
from typing import Any

from querydet.data.columns.files import ColumnsError
from querydet.utils.atomic import atomic_write


def write_sealed(path: str, content: dict[str, Any]) -> None:
    """Write a json file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_write(path) as file:
        file.write(json.dumps({"digest": _digest(content), "content": content}).encode())


def read_sealed(path: str) -> dict[str, Any]:
    """Read a file of `write_sealed`.

    Raises:
        ColumnsError: there is none, or it is not as it was written.
    """
    try:
        with open(path, "rb") as file:
            read = json.loads(file.read())
        content: dict[str, Any] = read["content"]
        if not isinstance(content, dict) or read["digest"] != _digest(content):
            raise ColumnsError(f"{path} is damaged: its digest is not that of its content")
    except FileNotFoundError:
        raise ColumnsError("they were not completed") from None
    except ColumnsError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ColumnsError(f"{path} is damaged: {error!r}") from error
    return content


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
