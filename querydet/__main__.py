"""``python -m querydet`` is the command ``querydet``."""

import sys

from querydet.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
