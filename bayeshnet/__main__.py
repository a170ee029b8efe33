"""Run the command line with ``python -m bayeshnet``."""

import os
import sys

from .cli import main

if __name__ == "__main__":
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]  # that python -m puts there: the current folder may be anyone's
    sys.exit(main())
