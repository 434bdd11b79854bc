"""``querydet demo``, for a checkout that is not installed."""

import sys

from querydet.cli.demo import main

if __name__ == "__main__":
    sys.exit(main())
