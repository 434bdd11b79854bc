"""Reading of a whole json file into memory, with errors that name the file."""

import json
import os
from typing import Any


def read_json(path: str) -> Any:
    """Parse a json file in UTF-8, UTF-16 or UTF-32.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file cannot be read, has another encoding, or is not json.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"annotation file {os.path.abspath(path)} does not exist: check "
            "dataloader.{train,test}.dataset.annotations"
        )
    try:
        with open(path, "rb") as file:
            text = file.read()
        if text.strip():
            return json.loads(text)  # finds the encoding by the first bytes
    except OSError as error:
        raise ValueError(f"annotation file {path} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"annotation file {path} is not in UTF-8: byte 0x{error.object[error.start]:02x} at position "
            f"{error.start} is of another encoding (Windows programs write cp1252): save the file as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"annotation file {path} is not valid json: {error}") from error
    raise ValueError(f"annotation file {path} is not valid json: it is empty")
