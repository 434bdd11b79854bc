"""``querydet replay``, for a checkout that is not installed."""

import sys

from querydet.cli.replay_step import main

if __name__ == "__main__":
    sys.exit(main())
