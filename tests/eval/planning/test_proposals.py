"""Settings for cards of 8 to 24 GB at full geometry, counted on meta tensors; GB are 10^9 bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from pydantic import ValidationError

from sdsearch import create_study
from sdsearch.export.recovered import UNEXPORTED
from sdsearch.study import MachineConfig
from sdsearch_eval.nets import extract_features, load_extractor
from sdsearch_eval.planning import describe_work
from sdsearch_eval.planning.fitting import fit_label
from sdsearch_eval.planning.proposals import propose_settings
from sdsearch_eval.planning.settling import FoundSettings
from sdsearch_eval.planning.storage import Storage
from tests.eval.counting.test_counts import DESIGN
from tests.fakes import full_geometry

if TYPE_CHECKING:
    from sdsearch_eval.planning.phases import Work

GB = 10**9
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """What `init` suggests for Stable Diffusion v1.4, on a GPU."""
    folder = tmp_path_factory.mktemp("full")
    teacher = full_geometry(folder / "teacher")
    study = create_study(folder / "study", teacher=str(teacher), images="scenes", space="sd14")
    return describe_work(study.folder, "cuda")


def test_a_label_with_checkpointing_needs_less_than_10_gigabytes(work: Work) -> None:
    machine = MachineConfig(gradient_checkpointing=True, micro_batch=8)
    fitted = fit_label(DESIGN, replace(work, machine=machine), 80 * GB)
    assert fitted.peak.phase == "recovery"
    assert 9 * GB < fitted.peak.total <= 10 * GB


@pytest.mark.parametrize(
    ("stage", "gigabytes", "most"),
    [
        ("label", 8, 7.2),
        ("label", 12, 10.8),
        ("label", 24, 21.6),
        ("recover", 12, 11.0),
        ("recover", 24, 20.0),
    ],
)
def test_settings_are_found_with_which_the_work_fits_a_card(
    stage: str, gigabytes: int, most: float, work: Work
) -> None:
    found = propose_settings(work, DESIGN, stage, gigabytes)  # type: ignore[arg-type]
    assert found.fits
    assert found.need <= most * GB


def test_a_study_of_68_labels_and_16_designs_keeps_less_than_2_gigabytes_beside_its_exports(
    work: Work,
) -> None:
    image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    made = extract_features(
        load_extractor(work.protocol.extractor), image, work.protocol.feature_size
    )
    storage = Storage(work, made.pooled.numel(), sum(one.numel() for one in made.maps), 0)
    assert work.protocol.samples == 256
    assert storage.shared() + (68 + 16) * storage.label() + UNEXPORTED <= 2 * GB


def test_settings_that_were_found_before_there_were_seals_are_kept() -> None:
    found = MachineConfig(micro_batch=4, gradient_checkpointing=True)
    for said in (found.model_dump_json(), FoundSettings(machine=found).to_json()):
        assert FoundSettings.model_validate_json(said).machine == found
    with pytest.raises(ValidationError, match="damaged"):
        FoundSettings.model_validate_json(said.replace("4", "5", 1))


def test_what_changes_no_value_is_proposed_before_what_does(work: Work) -> None:
    twelve = propose_settings(work, DESIGN, "label", 12)
    assert twelve.lines == ("[machine] gradient_checkpointing = true",)
    eight = propose_settings(work, DESIGN, "label", 8)
    assert '[protocol.recovery] optimizer = "adamw8bit"' in eight.lines


def test_where_nothing_helps_the_proposal_says_so(work: Work) -> None:
    found = propose_settings(work, DESIGN, "recover", 6)
    assert not found.fits
    assert found.need > found.usable
