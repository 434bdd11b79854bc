"""``querydet slurm``, for a checkout that is not installed."""

import sys

from querydet.cli.slurm_train import main

if __name__ == "__main__":
    sys.exit(main())
