"""``querydet visualize data``, for a checkout that is not installed."""

import sys

from querydet.cli.visualize_data import main

if __name__ == "__main__":
    sys.exit(main())
