"""``querydet plot curves``, for a checkout that is not installed."""

import sys

from querydet.cli.plot_curves import main

if __name__ == "__main__":
    sys.exit(main())
