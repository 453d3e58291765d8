"""The `scenes` dataset: landscapes that are rendered here, with captions and object masks.

It imports nothing. Start at `scenes`.
"""

from sdsearch_eval.scenes.scenes import RENDERER_VERSION, Split, render_scene, split_seed

__all__ = ["RENDERER_VERSION", "Split", "render_scene", "split_seed"]
