"""``querydet check-data``, for a checkout that is not installed."""

import sys

from querydet.cli.check_dataset import main

if __name__ == "__main__":
    sys.exit(main())
