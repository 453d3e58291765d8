"""The app: a local page of a study, to inpaint, to look at scores, to design and to export.

It may import all rooms of the harness. Start reading at `pages`; `actions` does what buttons ask.
"""

from sdsearch_eval.app.pages import serve_app

__all__ = ["serve_app"]
