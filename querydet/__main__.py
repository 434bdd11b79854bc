"""``python -m querydet`` is ``train_net.py``, for installations without a checkout."""

import os

# See train_net.py.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from querydet.engine import argument_parser, launch, main

if __name__ == "__main__":
    launch(main, argument_parser().parse_args())
