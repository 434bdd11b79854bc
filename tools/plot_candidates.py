"""``querydet plot candidates``, for a checkout that is not installed."""

import sys

from querydet.cli.plot_candidates import main

if __name__ == "__main__":
    sys.exit(main())
