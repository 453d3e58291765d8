"""The app: a local page of a study, to inpaint, look at scores, design and export.

It imports `jobs`, `bench`, `pictures` and `data`. Start at `serving`; `pages` shows, `actions` does
what buttons ask.
"""

from sdsearch_eval.app.serving import serve_app

__all__ = [
    "serve_app",
]
