"""What is wrong with a UNet or pipeline that someone brings, what it costs and works with.

It imports `space`, `weights`, `unet` and `pipelines`. Start at `report`.
"""

from sdsearch.check.report import CheckReport, check_unet

__all__ = [
    "CheckReport",
    "check_unet",
]
