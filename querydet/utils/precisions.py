"""The names of the precisions of inference, for commands that print them without loading torch."""

PRECISIONS = ("float32", "bfloat16", "auto")


def check_precision(precision: str) -> str:
    """Return the precision.

    Raises:
        ValueError: it is none of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, found {precision!r}")
    return precision
