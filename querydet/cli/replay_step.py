#!/usr/bin/env python
"""Repeats a training step with NaN or infinity from the dump that stopped a run, and says where they come from.

python tools/replay_step.py output/nonfinite_0001234_rank0.pt
"""

import argparse
import os

from querydet.config import load_config
from querydet.engine import build_model
from querydet.engine.faults.replay import load_dump, replay


def main() -> int:
    """Exit code 0 when NaN or infinity came again, 1 when all is finite now."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", help="nonfinite_*.pt in the folder of the run")
    parser.add_argument("--config-file", help="default: config.yaml beside the dump")
    parser.add_argument("opts", nargs="*", metavar="key=value", help="overrides, such as train.device=cpu")
    args = parser.parse_args()
    dump = load_dump(args.dump)
    path = args.config_file or os.path.join(os.path.dirname(os.path.abspath(args.dump)), "config.yaml")
    lines = replay(build_model(load_config(path, args.opts)), dump)
    print(f"What the run reported:\n{dump['report']}\n\nThe step again:")
    print("\n".join(lines))
    again = any(line.startswith("NaN or infinite") for line in lines)
    print("\nIt happens again." if again else "\nAll is finite now: another device, or another version of a program?")
    return 0 if again else 1


if __name__ == "__main__":
    raise SystemExit(main())
