"""A label job: what is to be measured, and the claims and the process that measuring it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.labels.store import label_path
from sdsearch.workers.process import HarnessProcess
from sdsearch.workers.worker import needs_finish, open_claims

if TYPE_CHECKING:
    from sdsearch.study.folder import StudyFolder
    from sdsearch.workers.claims import Claims


@dataclass(frozen=True, slots=True)
class LabelJob:
    """What to label: architecture keys of a study under a label seed, perhaps at a rung.

    `processes` work on one label together, one per GPU.
    """

    study: StudyFolder
    seed: int
    keys: tuple[str, ...]
    processes: int = 1
    rung: int | None = None

    @property
    def rung_study(self) -> StudyFolder:
        """The study under the protocol that is measured."""
        return self.study.at_rung(self.rung)

    def todo(self) -> list[str]:
        """The keys without a label."""
        study = self.rung_study
        protocol = study.config.protocol.key
        return [
            key for key in self.keys if not label_path(study, key, protocol, self.seed).exists()
        ]

    def needs_finish(self) -> bool:
        """Whether the labels are there, but not what comes after them; rungs have no such thing."""
        return self.rung is None and needs_finish(self.open_claims(), self.keys)

    def open_claims(self) -> Claims:
        """The claims of the labels that are measured."""
        return open_claims(self.rung_study, self.seed)

    def open_labeller(self) -> HarnessProcess:
        """The process of the harness that measures for this job."""
        return HarnessProcess(self.study, self.seed, self.processes, self.rung)
