"""`python -m sdsearch`: the command line."""

from sdsearch.cli.main import main

if __name__ == "__main__":
    main()
