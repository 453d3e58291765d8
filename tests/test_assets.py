from __future__ import annotations

import pytest

from sdsearch.assets import asset_path
from sdsearch.errors import InputError


def test_an_unknown_asset_names_the_places_that_were_searched() -> None:
    with pytest.raises(InputError, match=r"_assets/no-such.*assets/no-such"):
        asset_path("no-such")
