"""``querydet groups``, for a checkout that is not installed."""

import sys

from querydet.cli.explain_groups import main

if __name__ == "__main__":
    sys.exit(main())
