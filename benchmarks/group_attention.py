"""Measures time and memory of folding groups into the batch beside one attention with a mask (Group DETR, figure 7).

    python benchmarks/group_attention.py --output benchmarks/results/group_attention.json
    python benchmarks/group_attention.py --table

One self-attention of G groups of queries, forward and backward, in three forms: "folded", as querydet computes it;
"masked", over all queries with a mask that separates the groups; "joint", over all queries without a mask, with which
table 7 of Group DETR compares. Each runs with PyTorch's plain kernel, which keeps the attention maps, and with the
kernel that PyTorch chooses. Memory counts the tensors that the forward pass keeps for the backward pass, and so does
not depend on the machine; seconds are the least of several runs.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from querydet.modeling.decoder.attention import ConditionalQueryAttention
from querydet.modeling.decoder.group_attention import blocked_pairs, plan_attention
from querydet.structures import QueryGroup
from querydet.utils.provenance import provenance

RESULTS = Path(__file__).resolve().parent / "results" / "group_attention.json"
FORMS = ("folded", "masked", "joint")
KERNELS = ("plain", "chosen")


def attend(form: str, attention: ConditionalQueryAttention, position: Tensor, content: Tensor, groups: int) -> Tensor:
    """Compute one form of the self-attention of several groups with the same number of queries (B, Q, C)."""
    queries = content.shape[1] // groups
    made = tuple(QueryGroup(f"group{n}", n * queries, (n + 1) * queries) for n in range(groups))
    if form == "folded":
        return attention.attend(content, position, plan_attention(made, content.device))
    return attention(position, content, blocked_pairs(made, content.device) if form == "masked" else None)


def kept_bytes(run: Callable[[], Any]) -> int:
    """Count the bytes of tensors that a forward pass keeps for the backward pass; shared storage counts once."""
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    del result
    return sum(found.values())


def measure(form: str, kernel: str, groups: int, queries: int, images: int, repeats: int) -> dict[str, Any]:
    """Measure one row of the results."""
    torch.manual_seed(0)
    attention = ConditionalQueryAttention()
    position, content = (torch.randn(images, groups * queries, 256, requires_grad=True) for _ in range(2))

    def forward() -> Tensor:
        return attend(form, attention, position, content, groups)

    with sdpa_kernel(SDPBackend.MATH) if kernel == "plain" else nullcontext():
        kept = kept_bytes(forward)
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            forward().sum().backward()
            seconds.append(time.perf_counter() - start)
    row = {"form": form, "kernel": kernel, "groups": groups, "queries": queries, "images": images}
    return row | {"kept_mib": round(kept / 2**20, 1), "seconds": round(min(seconds), 4)}


def table(record: dict[str, Any]) -> str:
    """Return the results as text."""
    keys = ("groups", "queries", "kernel", "form", "kept_mib", "seconds")
    rows = [[row[key] for key in keys] for row in record["rows"]]
    return f"{record['machine']}, {record['date']}\n\n{tabulate(rows, headers=keys, tablefmt='github')}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 5, 11])
    parser.add_argument("--queries", type=int, default=300, help="of a group (default %(default)s)")
    parser.add_argument("--images", type=int, default=2, help="of a step (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of the timing (default %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="show the written results, and measure nothing")
    args = parser.parse_args(argv)
    if args.table:
        print(table(json.loads(args.output.read_text())))
        return 0
    rows = [
        measure(form, kernel, groups, args.queries, args.images, args.repeats)
        for groups in args.groups
        for kernel in KERNELS
        for form in FORMS
    ]
    record = {**provenance(["benchmarks/group_attention.py", *(argv or sys.argv[1:])]), "rows": rows}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(record, indent=2) + "\n")
    print(f"{table(record)}\n\nwrote {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
