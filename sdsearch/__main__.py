"""`python -m sdsearch`: the command line."""

import os
import sys
from contextlib import suppress

if __name__ == "__main__":
    with suppress(OSError):  # of a current folder that was deleted, and holds nothing
        if not sys.flags.safe_path and sys.path[0] == os.getcwd():
            del sys.path[0]  # a random.py in it is not Python's own
    from sdsearch.cli.main import main

    main()
