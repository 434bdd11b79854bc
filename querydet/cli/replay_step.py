"""``querydet replay``, whose options are in `querydet.cli.arguments.replay_step`."""

import os
from collections.abc import Sequence

from querydet.cli.arguments.replay_step import parse_arguments
from querydet.config import load_config
from querydet.engine import build_model
from querydet.engine.class_counts import give_class_counts, needs_class_counts
from querydet.engine.faults.replay import load_dump, replay
from querydet.engine.freezing import freeze_parts
from querydet.utils.lazy import instantiate


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 0 when NaN or infinity came again, 1 when all is finite now."""
    args = parse_arguments(argv)
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
