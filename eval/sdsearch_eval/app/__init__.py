"""The app: a local page of a study, to inpaint, look at scores, design and export.

It imports all other rooms. Start at `serving`; `pages` shows, `actions` does what buttons ask.
"""

from sdsearch_eval.app.serving import serve_app

__all__ = [
    "serve_app",
]
