"""Repeat the training step that stopped a run with NaN or infinity, and find where they come from.

querydet replay output/nonfinite_0001234_rank0.pt
"""

import os
from collections.abc import Sequence

from querydet.cli.options import command_parser
from querydet.config import load_config
from querydet.engine import build_model
from querydet.engine.class_counts import give_class_counts, needs_class_counts
from querydet.engine.faults.replay import load_dump, replay
from querydet.engine.freezing import freeze_parts
from querydet.utils.lazy import instantiate


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 0 when NaN or infinity came again, 1 when all is finite now."""
    parser = command_parser("replay", __doc__)
    parser.add_argument("dump", help="nonfinite_*.pt in the folder of the run")
    parser.add_argument("--config-file", help="default: config.yaml beside the dump")
    parser.add_argument("opts", nargs="*", metavar="key=value", help="overrides, such as train.device=cpu")
    args = parser.parse_args(argv)
    dump = load_dump(args.dump)
    path = args.config_file or os.path.join(os.path.dirname(os.path.abspath(args.dump)), "config.yaml")
    cfg = load_config(path, args.opts)
    model = build_model(cfg)
    freeze_parts(model, cfg.train.get("freeze"))
    if needs_class_counts(model):
        give_class_counts(model, instantiate(cfg.dataloader.train.dataset))
    lines = replay(model, dump)
    print(f"What the run reported:\n{dump['report']}\n\nThe step again:")
    print("\n".join(lines))
    again = any(line.startswith("NaN or infinite") for line in lines)
    print("\nIt happens again." if again else "\nAll is finite now: another device, or another version of a program?")
    return 0 if again else 1
