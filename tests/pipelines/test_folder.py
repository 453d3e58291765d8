from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.errors import InputError
from sdsearch.pipelines.folder import locate_pipeline, open_pipeline

if TYPE_CHECKING:
    from pathlib import Path

INDEX = '{"_class_name": "StableDiffusionInpaintPipeline"}'


def test_the_tiny_teacher_is_the_shipped_one() -> None:
    assert locate_pipeline("tiny") == asset_path(TINY_TEACHER)


@pytest.mark.parametrize("pipeline", ["./missing", "/missing/folder", "missing", "a/b/c", ""])
def test_a_missing_teacher_folder_is_refused(pipeline: str) -> None:
    with pytest.raises(InputError, match="is no folder here"):
        locate_pipeline(pipeline)


def test_a_hub_id_is_kept_as_it_is() -> None:
    assert locate_pipeline("some-owner/some-model") == "some-owner/some-model"


@pytest.mark.parametrize("index", [None, "{}", "[]", "{"])
def test_a_folder_without_a_pipeline_index_is_refused(tmp_path: Path, index: str | None) -> None:
    if index is not None:
        (tmp_path / "model_index.json").write_text(index)
    with pytest.raises(InputError, match=r"model_index\.json"):
        open_pipeline(str(tmp_path))
    (tmp_path / "model_index.json").write_text(INDEX)
    assert open_pipeline(str(tmp_path)).folder == tmp_path
