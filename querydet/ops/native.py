"""The compiled extension `querydet._C`: loading it, and the fallback where it is missing.

Importing `querydet._C` fills `torch.ops.querydet.*` with native kernels. Every operator also has a definition in
PyTorch's own operators, which runs on devices for which the extension has no kernel, and where it was not built. Set
`QUERYDET_NO_EXTENSION=1` to disable the extension.
"""

import functools
import importlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

logger = logging.getLogger(__name__)


def _load_extension() -> str:
    """Import `querydet._C`, which registers the native operators.

    Returns:
        The reason why there is no extension, or an empty string if it was loaded.
    """
    if os.environ.get("QUERYDET_NO_EXTENSION", "0") not in ("", "0"):
        return "QUERYDET_NO_EXTENSION is set"
    try:
        importlib.import_module("querydet._C")
    except (ImportError, OSError, RuntimeError) as error:
        return f"querydet._C cannot be imported ({error})"
    return ""


MISSING_EXTENSION = _load_extension()


@functools.cache
def warn_once_fallback(device_type: str) -> None:
    """Warn once per device type that deformable attention runs the slow definition, and name the remedy."""
    reason = MISSING_EXTENSION or f"querydet._C was built without kernels for {device_type}"
    remedy = "pip install --no-build-isolation -e ."
    if MISSING_EXTENSION.startswith("QUERYDET_NO_EXTENSION"):
        remedy = "unset QUERYDET_NO_EXTENSION"
    elif device_type == "cuda":
        remedy = "CUDA_HOME=<toolkit> FORCE_CUDA=1 " + remedy
    logger.warning(
        "Deformable attention on %s runs the slow PyTorch definition: %s. Remedy: %s", device_type, reason, remedy
    )


def define_operator(schema: str, definition: Callable[..., Any], fake: Callable[..., Any]) -> torch.library.Library:
    """Register the definition and the fake kernel of an operator; define an operator that the extension lacks.

    Args:
        schema: equal to the one in ops/csrc/schema.cpp.
        definition: implementation for every device without a kernel.
        fake: shape inference on tensors without contents.

    Returns:
        The library, which must be kept alive as long as the operator is used.
    """
    name = schema.partition("(")[0]
    library = torch.library.Library("querydet", "FRAGMENT")
    if MISSING_EXTENSION or not hasattr(torch.ops.querydet, name):  # an older build
        library.define(schema)
    library.impl(name, definition, "CompositeExplicitAutograd")
    torch.library.register_fake(f"querydet::{name}", fake, lib=library)
    return library


def cpu_instruction_set() -> str | None:
    """Return which CPU kernels this process runs: "baseline", "avx2" or "avx512"; None without the extension.

    They are the widest that the processor supports, limited by the environment variable `QUERYDET_CPU`, which is read
    at the first call.
    """
    return None if MISSING_EXTENSION else torch.ops.querydet.cpu_instruction_set()


_fused = True


@contextmanager
def separate_operators() -> Iterator[None]:
    """Let deformable attention compute locations and weights by PyTorch's operators inside of this block.

    Affects the whole process. Otherwise one operator goes from offsets and logits to the sum; results are equal up to
    rounding. Used to count operations and to compare the two.
    """
    global _fused
    before, _fused = _fused, False
    try:
        yield
    finally:
        _fused = before


def operators_are_fused() -> bool:
    """Return False inside of `separate_operators`, else True."""
    return _fused
