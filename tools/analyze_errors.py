"""``querydet errors``, for a checkout that is not installed."""

import sys

from querydet.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(["errors", *sys.argv[1:]]))
