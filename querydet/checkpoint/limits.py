"""Limits of what a checkpoint file may ask for: far above every real model, and so low that a refusal takes seconds.

Whoever trusts a file reads it without them: ``querydet convert OLD NEW --trust``.
"""

import pickle

MAX_OPERATIONS = 1_000_000  # of a pickle; a saved tensor takes about 40
MAX_ITEMS = 1_000_000  # of what a pickle describes, shared items counted wherever they are used
MAX_DEPTH = 100  # of lists in lists
MAX_MEMBERS = 200_000  # of a zip archive; torch writes one for each tensor, and six more
MAX_DIRECTORY = 32 * 2**20  # bytes of an archive's list of members
MAX_UNUSED = 64 * 2**20  # bytes of an archive that belong to no tensor
MAX_EXPANSION = 8  # times the size of the file: tensors that share their content, and decoded bytes
FREE_EXPANSION = 256 * 2**20  # bytes that may come from a file of any size
MAX_HEADER = 25_000_000  # bytes of the header of a safetensors file
MAX_NOTES = 4 * 2**20  # bytes of a JSON file beside the weights
MAX_WEIGHTS = (
    10_000  # named weights of a file, as matching names takes longer the more there are; shipped models: 1,500
)
MAX_NAME = 500  # characters of the name of a weight
MAX_TUPLE_KEYS = 1000  # tuples as keys of dicts

OPT_OUT = "if the file is your own and you trust it: querydet convert OLD NEW --trust"


class TooLarge(pickle.UnpicklingError):
    """A file asks for more than a limit allows.

    Args:
        what: it asks for.
        limit: name of the limit in this module.
    """

    def __init__(self, what: str, limit: str) -> None:
        super().__init__(f"{what}, more than {limit} of querydet.checkpoint.limits allows ({globals()[limit]:,})")


def check_limit(number: int, what: str, limit: str) -> None:
    """Raise `TooLarge` when a number is above the limit of this name.

    Args:
        number: what a file asks for.
        what: unit of the number, for the message.
        limit: name of the limit in this module.
    """
    if number > globals()[limit]:
        raise TooLarge(f"{number:,} {what}", limit)
