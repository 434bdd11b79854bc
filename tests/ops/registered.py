"""What the native extension registers."""

import pytest
import torch

from querydet.ops.native import MISSING_EXTENSION

needs_extension = pytest.mark.skipif(bool(MISSING_EXTENSION), reason=f"no extension: {MISSING_EXTENSION}")


def assert_registered(schema: str, device: str = "CPU") -> None:
    """The extension has this operator, with this schema, and a kernel of its own for the device."""
    name = schema.partition("(")[0]
    assert str(getattr(torch.ops.querydet, name).default._schema) == f"querydet::{schema}"
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"querydet::{name}", device)
