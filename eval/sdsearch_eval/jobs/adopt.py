"""Adopting: labels keep their values and get the name that their content has today."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdsearch.labels import find_sampler_change, former_keys
from sdsearch.pipelines import open_pipeline
from sdsearch.study import find_teacher, read_study
from sdsearch.unet import former_teacher_sha256, read_noise_schedule, teacher_sha256
from sdsearch_eval.bench import decoded_manifest, describe_sampling
from sdsearch_eval.jobs.intake import keep_content
from sdsearch_eval.jobs.workspace import only_run, open_console
from sdsearch_eval.nets import load_extractor
from sdsearch_eval.world import open_world

if TYPE_CHECKING:
    from sdsearch.labels import Label, LabelStore
    from sdsearch.study import AdoptRequest, StudyFolder


def adopt_labels(request: AdoptRequest) -> None:
    """Rename labels of a study, and their repeats, whose samples and networks are those of today.

    A label is adopted if its key is that of the study's protocol under some spelling of its paths,
    and its samples (as decoded), extractor, teacher and sampler are the same. Others stay, and are
    counted.
    """
    world = open_world(1)
    console, study = open_console(world), keep_content(read_study(request.study))
    adopted = left = 0
    with only_run(study, world):
        for rung in study.rungs:
            at = study.at_rung(rung)
            keys = {*former_keys(at.config.protocol), at.protocol_key}
            found = [
                (store, label)
                for store in (at.labels, at.repeats)
                for key in sorted(keys)
                for label in store.read_all(key)
            ]
            today = _read_today(at) if found else None
            for store, label in found:
                if today is None or not today.made(label):
                    left += 1
                elif label.provenance.get("protocol") is None or label.key.series != at.series:
                    adopted += 1
                    _rename(label, at, store, today)
    console.print(f"{adopted} labels adopted; {left} left, since they come from other content")


@dataclass(frozen=True, slots=True)
class Today:
    """What labels come from now: their provenance today, and the hashes that it may have had."""

    provenance: dict[str, Any]
    manifest_sha256: str
    former_teacher_sha256: str

    def made(self, label: Label) -> bool:
        """Whether a label comes from these samples, this extractor and this teacher."""
        said, extractor = label.provenance, self.provenance["extractor_sha256"]
        teachers = (self.provenance["teacher_sha256"], self.former_teacher_sha256)
        return (
            find_sampler_change(label, self.provenance) is None
            and said.get("manifest_sha256", self.manifest_sha256) == self.manifest_sha256
            and said.get("extractor_sha256") == extractor
            and said.get("teacher_sha256") in teachers
        )


def _read_today(study: StudyFolder) -> Today:
    protocol = study.config.protocol
    teacher = open_pipeline(find_teacher(study))
    return Today(
        provenance={
            "teacher_sha256": teacher_sha256(teacher),
            "extractor_sha256": load_extractor(protocol.extractor).sha256,
            "protocol": study.resolved.settings,
            "sampling": describe_sampling(read_noise_schedule(teacher), protocol),
        },
        manifest_sha256=decoded_manifest(protocol),
        former_teacher_sha256=former_teacher_sha256(teacher),
    )


def _rename(label: Label, study: StudyFolder, store: LabelStore, today: Today) -> None:
    """Give a label its key of today."""
    new = label.model_copy(
        update={
            "protocol_key": study.protocol_key,
            "provenance": {**label.provenance, **today.provenance},
        }
    )
    store.write(new)
    if new.key != label.key:
        store.remove(label.key)
