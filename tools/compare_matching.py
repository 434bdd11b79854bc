"""``querydet compare-matching``, for a checkout that is not installed."""

import sys

from querydet.cli.compare_matching import main

if __name__ == "__main__":
    sys.exit(main())
