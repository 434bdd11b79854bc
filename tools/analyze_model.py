"""``querydet analyze``, for a checkout that is not installed."""

import sys

from querydet.cli.analyze_model import main

if __name__ == "__main__":
    sys.exit(main())
