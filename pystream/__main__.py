"""`python -m pystream`: the command, wherever its script is not on the path."""

import sys

from pystream.cli import main

if __name__ == "__main__":
    sys.exit(main())
