"""Specialize Stable Diffusion v1.4-family UNets: label a few, learn which blocks matter, build.

    study = sdsearch.create_study("study", budget=0.6)
    study.run()
    pipeline = study.design("autobuild-1").pipeline()

A `Study` is a folder with a method for every stage; the rest works without one. Everything below
loads at its first use: `import sdsearch` alone takes no time. Rooms: docs/architecture.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdsearch.api import (
        Study,
        StudyDesign,
        create_study,
        draw_unet,
        inherit_unet,
        load_benchmark,
        load_study,
        search_space,
        unet_cost,
    )
    from sdsearch.check import check_unet
    from sdsearch.errors import InputError, WorkError
    from sdsearch.unet import Architecture, Backbone, find_backbone

    __version__: str

__all__ = [
    "Architecture",
    "Backbone",
    "InputError",
    "Study",
    "StudyDesign",
    "WorkError",
    "__version__",
    "check_unet",
    "create_study",
    "draw_unet",
    "find_backbone",
    "inherit_unet",
    "load_benchmark",
    "load_study",
    "search_space",
    "unet_cost",
]

_HOMES = {
    "Architecture": "unet.architecture",
    "Backbone": "unet.backbone",
    "InputError": "errors",
    "Study": "api.study",
    "StudyDesign": "api.design",
    "WorkError": "errors",
    "check_unet": "check.report",
    "create_study": "api.create",
    "draw_unet": "api.unets",
    "find_backbone": "unet.teacher",
    "inherit_unet": "api.unets",
    "load_benchmark": "api.benchmark",
    "load_study": "api.study",
    "search_space": "api.unets",
    "unet_cost": "api.unets",
}


def __getattr__(name: str) -> object:
    """Load a public name where it is first used (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("sdsearch")
    elif name in _HOMES:
        value = getattr(import_module(f"sdsearch.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'sdsearch' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
