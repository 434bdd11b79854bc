"""Reading of a whole json file into memory, with errors that name the file."""

import json
import os
from typing import Any, BinaryIO


def read_json(path: str) -> Any:
    """Parse a json file in UTF-8, UTF-16 or UTF-32.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file cannot be read, has another encoding, or is not json.
    """
    try:
        with open_json(path) as file:
            text = file.read()
        if text.strip():
            return json.loads(text)  # finds the encoding by the first bytes
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"annotation file {path} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise encoding_error(path, error) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"annotation file {path} is not valid json: {error}") from error
    raise ValueError(f"annotation file {path} is not valid json: it is empty")


def open_json(path: str) -> BinaryIO:
    """Open an annotation file.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it cannot be read.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"annotation file {os.path.abspath(path)} does not exist: check "
            "dataloader.{train,test}.dataset.annotations"
        )
    try:
        return open(path, "rb")
    except OSError as error:
        raise ValueError(f"annotation file {path} cannot be read: {error}") from error


def encoding_error(path: str, error: UnicodeDecodeError, before: int = 0) -> ValueError:
    """Return the error of a file that is not in UTF-8.

    Args:
        path: of the file.
        error: of the decoder.
        before: bytes of the file before those that were decoded.
    """
    return ValueError(
        f"annotation file {path} is not in UTF-8: byte 0x{error.object[error.start]:02x} at position "
        f"{before + error.start} is of another encoding (Windows programs write cp1252): save the file as UTF-8"
    )
