"""A request says one command of the harness, and means the same on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from sdsearch.errors import HarnessError
from sdsearch.harness import harness_line, run_harness, written
from sdsearch.study.requests import (
    REQUEST,
    AppRequest,
    FinetuneRequest,
    GridRequest,
    InpaintRequest,
    LatencyRequest,
    RecomputeRequest,
    RecoverRequest,
    RuntimesRequest,
    ServeRequest,
    ThumbnailsRequest,
)

STUDY = Path("a study/ü [1]")
REQUESTS = [
    ServeRequest(study=STUDY, seed=2**32 - 1, rung=0, processes=2),
    RecomputeRequest(study=STUDY),
    RecoverRequest(study=STUDY, arch_keys=("0" * 12,)),
    FinetuneRequest(study=STUDY, arch_key="0" * 12, processes=3),
    GridRequest(study=STUDY, columns={'a = "b"': "0" * 12}),
    InpaintRequest(
        pipelines=("tiny",),
        images=(Path("--image.png"),),
        masks=("box:1,2,3,4",),
        prompts=('a "lake"\n--prompt',),
        guidance=0.1,
    ),
    ThumbnailsRequest(study=STUDY, designs=("autobuild-1",)),
    RuntimesRequest(study=STUDY, pipeline=STUDY / "pipelines" / "autobuild-1"),
    LatencyRequest(survey=Path("table.survey.json")),
    AppRequest(study=STUDY, port=7860),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.command)
def test_a_request_is_read_as_it_was_written(request_) -> None:
    with written(request_) as file:
        assert REQUEST.validate_json(file.read_bytes()) == request_
    assert not file.exists()


@pytest.mark.parametrize(("processes", "option"), [(1, []), (2, ["--processes=2"])])
def test_several_processes_are_asked_for_with_one_request(
    processes: int, option: list[str]
) -> None:
    line = harness_line(Path("request.json"), processes)
    assert line[-2 - len(option) :] == ["sdsearch_eval", *option, "request.json"]


def test_a_request_that_lacks_what_it_needs_is_refused_before_a_process_starts() -> None:
    with pytest.raises(ValidationError, match="images"):
        InpaintRequest.model_validate({"pipelines": ["tiny"], "masks": ["auto:box"]})
    with pytest.raises(ValidationError, match="scheduler"):
        InpaintRequest.model_validate({**REQUESTS[5].model_dump(), "scheduler": "dimm"})


def test_a_harness_that_ends_badly_says_with_which_code(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="export") as ended:
        run_harness(RecoverRequest(study=tmp_path, arch_keys=("0",)))
    assert ended.value.code == 2
