"""A label job: what is to be measured, and the claims and the process that measuring it needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdsearch.console import say
from sdsearch.files import has_hard_links
from sdsearch.labels import LabelKey
from sdsearch.workers.claims import Claims
from sdsearch.workers.process import HarnessProcess
from sdsearch.workers.worker import PATIENCE, Shift, needs_finish

if TYPE_CHECKING:
    from sdsearch.study import StudyFolder


@dataclass(frozen=True, slots=True)
class LabelJob:
    """What to label: architecture keys of a study under its label seed, perhaps at a rung.

    `processes` work on one label together, one per GPU.
    """

    study: StudyFolder
    keys: tuple[str, ...]
    processes: int = 1
    rung: int | None = None

    @property
    def measured(self) -> StudyFolder:
        """The study under the protocol that is measured: its own, or that of the rung."""
        return self.study.at_rung(self.rung)

    def todo(self) -> list[str]:
        """The keys without a label."""
        study = self.measured
        return [key for key in self.keys if LabelKey(key, study.series) not in study.labels]

    def needs_finish(self) -> bool:
        """Whether the labels are there, but not what comes after them; rungs have no such thing."""
        return self.rung is None and needs_finish(open_claims(self.measured), self.keys)

    def open_shift(self, patience: int = PATIENCE) -> Shift:
        """What a worker needs in hand for this job."""
        study = self.measured
        attempts = study.config.label.attempts
        if not has_hard_links(study.claims_dir, study.root):
            say(
                f"{study.claims_dir} is on a file system without hard links: workers there claim "
                "by making files that must be new, which a local disk and NFS hold to, and not "
                "every other network file system; if in doubt, use a single worker"
            )
        return Shift(study.series, study.labels, open_claims(study), attempts, patience)

    def open_labeller(self) -> HarnessProcess:
        """The process of the harness that measures for this job."""
        return HarnessProcess(self.study, self.processes, self.rung)

    def of(self, *keys: str) -> LabelJob:
        """The same job for other architectures."""
        return replace(self, keys=keys)


def open_claims(study: StudyFolder) -> Claims:
    """The claims of the labels of a study's series."""
    return Claims(study.claims_dir, study.config.label.lease)
