"""``querydet plot candidates``, for a checkout that is not installed."""

import sys

from querydet.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(["plot", "candidates", *sys.argv[1:]]))
