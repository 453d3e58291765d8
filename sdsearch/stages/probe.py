"""Probing: what the teacher loses with each removal, before any label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdsearch.design import Probe, read_probe
from sdsearch.files import write_atomic
from sdsearch.harness import run_harness
from sdsearch.planning import check_study
from sdsearch.report import draw_probe
from sdsearch.study import ProbeRequest, is_current, load_space, name_teacher, record_done

if TYPE_CHECKING:
    from sdsearch.study import StudyFolder


SAMPLES, TIMESTEPS = 8, 4
"""How much a probe asks where nobody says more."""


def probe_study(
    study: StudyFolder, samples: int | None = None, timesteps: int | None = None
) -> Probe:
    """Measure every removal of the space on the teacher: probe.json, and probe.svg to look at.

    Args:
        study: whose teacher, space, pictures and precision are taken.
        samples: recovery samples that are asked about at each timestep; None: as many as the
            probe that is there has asked about, else `SAMPLES`.
        timesteps: how many timesteps, spread over those of the training; None: likewise.

    Raises:
        InputError: something in the study would be refused later, or a number is below 1.
        HarnessError: the harness failed, and has said why; what was measured is kept.
    """
    found = find_probe(study)
    before = (found.asked, len(found.timesteps)) if found else None
    usual = before or (SAMPLES, TIMESTEPS)
    wanted = (
        usual[0] if samples is None else samples,
        usual[1] if timesteps is None else timesteps,
    )
    request = ProbeRequest.from_options(
        {"study": study.root, "samples": wanted[0], "timesteps": wanted[1]}
    )
    if found is None or before != wanted:
        check_study(study)
        run_harness(request)
        found = read_probe(study.probe_file)
        assert found is not None, "the harness has written it"
        picture = study.probe_file.with_suffix(".svg")
        write_atomic(picture, draw_probe(found, load_space(study)))
        record_done(study, "probe", _made_from(study), [study.probe_file, picture])
    return found


def find_probe(study: StudyFolder) -> Probe | None:
    """The probe of the study as it is now; None where there is none, or one of something else.

    Raises:
        InputError: the file is damaged, and nothing has recorded it.
    """
    return read_probe(study.probe_file) if is_current(study, "probe", _made_from(study)) else None


def _made_from(study: StudyFolder) -> dict[str, Any]:
    """What a probe depends on, besides how much was asked."""
    space = study.config.space.model_dump(mode="json", exclude={"labels", "strategy", "seed"})
    return {"teacher": name_teacher(study), "space": space, "series": str(study.series)}
