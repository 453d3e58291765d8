"""`python -m sdsearch`: the command line."""

import os
import sys

if __name__ == "__main__":
    if sys.path[0] == os.getcwd() and not sys.flags.safe_path:
        sys.path.append(sys.path.pop(0))  # a random.py in the current folder is not Python's own
    from sdsearch.cli.main import main

    main()
