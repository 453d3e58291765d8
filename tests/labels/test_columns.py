from __future__ import annotations

import pytest

from sdsearch.assets import TINY_TABLE, asset_path
from sdsearch.errors import InputError
from sdsearch.labels.columns import (
    FEWEST_TO_EXTRAPOLATE,
    check_target,
    describe_column,
    label_columns,
)
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.store import read_label_table
from sdsearch.labels.target import Target

BY_SIZE = ("_below_10", "_10_to_30", "_above_30")


def test_columns_are_those_of_labels_that_were_measured() -> None:
    table = [x for x in read_label_table(asset_path(TINY_TABLE)) if not x.failure]
    assert table
    for label in table:
        protocol = Protocol.model_validate(label.provenance["protocol"])
        named = {name for name in label.values if not name.endswith(BY_SIZE)}
        assert named <= label_columns(protocol)
    # What labels of today hold exactly: tests/eval/bench/test_evaluate.py


def test_a_target_over_known_columns_passes() -> None:
    check_target(Target("-log(fd_efflite0) - 0.1 * latency_ms"), Protocol())


@pytest.mark.parametrize(
    ("expression", "options", "said"),
    [
        ("-log(fd_eflite0)", {}, "did you mean 'fd_efflite0'"),
        ("-log(fid)", {}, "'fid' is none"),
        ("-fd_inf_efflite0", {}, "from 5,000 samples on, and protocol.samples is 192"),
        ("-lpips_alex", {}, "'lpips_alex' is none"),
        ("-fd_efflite0", {"extractor": "fid"}, "'fd_efflite0' is none"),
    ],
)
def test_a_target_over_a_column_that_no_label_will_have_is_refused_and_marked(
    expression: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError, match=said) as refused:
        check_target(Target(expression), Protocol.model_validate(options))
    assert "^" in str(refused.value).splitlines()[-1]


@pytest.mark.parametrize(
    ("expression", "options"),
    [
        ("-fid", {"extractor": "fid"}),
        ("-kid_clip", {"extractor": "clip:a folder"}),
        ("-lpips_alex", {"lpips": "alex"}),
        ("-fp32_retry", {"dtype": "float16"}),
        ("-fd_inf_efflite0", {"samples": FEWEST_TO_EXTRAPOLATE}),
    ],
)
def test_columns_come_with_the_settings_that_measure_them(
    expression: str, options: dict[str, object]
) -> None:
    check_target(Target(expression), Protocol.model_validate(options))
    with pytest.raises(InputError):
        check_target(Target(expression), Protocol())


@pytest.mark.parametrize("extractor", ["efflite0", "fid", "inception:a", "clip:a"])
@pytest.mark.parametrize("task", ["inpaint", "text-to-image"])
def test_every_column_of_a_label_has_words(extractor: str, task: str) -> None:
    protocol = Protocol.model_validate(
        {"extractor": extractor, "task": task, "samples": 5000, "dtype": "bfloat16"}
    )
    columns = sorted(label_columns(protocol))
    assert len(columns) > 8
    assert [one for one in columns if "scorer" in describe_column(one).words] == []


def test_what_is_better_is_said_of_each_family_as_the_docs_say_it() -> None:
    higher = {"psnr_hole", "ssim_full", "clip_score", "diversity_clip", "psnr_hole_below_10"}
    lower = {"fid", "fd_inf_inception", "kid_efflite0", "l1_keep_raw", "seam", "fd_vs_teacher"}
    assert {describe_column(one).better for one in higher} == {"higher"}
    assert {describe_column(one).better for one in lower} == {"lower"}
    assert describe_column("my_scorer").better is None
    assert describe_column("fidelity").words == describe_column("my_scorer").words
