#!/usr/bin/env python
"""Trains and evaluates a detector described by a LazyConfig file; ``train_net.py --help`` shows how."""

import os
import warnings

# OpenMP threads that spin while they wait slow each other down many times over when data workers or other programs
# want the same few cores. OpenMP reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# fvcore still calls it when it is imported.
warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)

from querydet import engine  # noqa: E402 - both lines have to come first

if __name__ == "__main__":
    args = engine.argument_parser().parse_args()
    engine.launch(engine.main, args)  # which loads torch, now that the arguments are known to be right
