"""The command line: options in, a call of the public interface, words or JSON out.

It may import all rooms; heavy ones inside commands. Start at `main`.
"""

from sdsearch.cli.main import app

__all__ = ["app"]
