"""What an export is made from: the long recovery's weights and values, else those of the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.console import say
from sdsearch.errors import WorkError
from sdsearch.harness import run_harness
from sdsearch.keys import content_key
from sdsearch.labels import Label, LabelKey, read_recovery_values
from sdsearch.study import RecoverRequest, find_preset, load_space, read_designs
from sdsearch.unet import UNPRUNED
from sdsearch.weights import forget_note, origin_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sdsearch.design import Design
    from sdsearch.labels import Latency, Measurement, RecoveryRecipe
    from sdsearch.study import Preset, StudyFolder
    from sdsearch.unet import Backbone

FORMAT = 4
"""Of the exported folder: raise it when its contents change."""
UNEXPORTED = 250_000_000
"""Bytes of weights of designs that are not exported and stay after a run: only small ones do."""


@dataclass(frozen=True, slots=True)
class ExportSource:
    """A design with all that is known of it, read once.

    Attributes:
        design: what is exported.
        study: where from.
        teacher: the teacher's identity, by content.
        backbone: the teacher's.
        label: the design's label in the study's series, None before it is measured.
        long_values: what a long recovery that has ended measured after it; empty without one.
        preset: what the study's report names, None where that is nothing, or is gone.
        teacher_label: the teacher's in the same series, None before it is measured. It is told in
            the card alone, which is renewed, so that the key holds it not.
    """

    design: Design
    study: StudyFolder
    teacher: str
    backbone: Backbone
    label: Label | None
    long_values: dict[str, Measurement]
    preset: Preset | None = None
    teacher_label: Label | None = None

    @property
    def values(self) -> dict[str, Measurement | Latency | int | float]:
        """What was measured of the weights that are exported, by column."""
        return {**(self.label.values if self.label else {}), **self.long_values}

    @property
    def key(self) -> str:
        """The content key of everything that decides the contents of the exported folder."""
        long = {name: value.model_dump(mode="json") for name, value in self.long_values.items()}
        preset = self.preset and self.preset.model_dump(mode="json")
        return content_key(
            {
                "format": FORMAT,
                "design": self.design.model_dump(mode="json"),
                "series": str(self.study.series),
                "teacher": self.teacher,
                "label": self.label and self.label.to_json(),
                "long_recovery": long,
                **({"preset": preset} if preset else {}),
            }
        )

    @property
    def recipe(self) -> RecoveryRecipe:
        """How the exported weights were recovered."""
        config = self.study.config
        return config.export.recovery if self.long_values else config.protocol.recovery


def read_source(design: Design, study: StudyFolder, teacher: str) -> ExportSource:
    """Read what a study knows of a design; `teacher` is the teacher's identity by content."""

    def find(arch_key: str) -> Label | None:
        key = LabelKey(arch_key, study.series)
        return study.labels.read(key) if key in study.labels else None

    return ExportSource(
        design=design,
        study=study,
        teacher=teacher,
        backbone=load_space(study).backbone,
        label=find(design.arch_key),
        long_values=_read_long_values(design.arch_key, study),
        preset=find_preset(study.config),
        teacher_label=find(UNPRUNED.key),
    )


def recover_missing(designs: Sequence[Design], study: StudyFolder) -> None:
    """Recover those of some designs whose weights are not there, in one process.

    Raises:
        WorkError: weights of a long recovery are damaged.
        HarnessError: the harness failed, and has said why.
    """
    lacking = {
        one.arch_key: one.name for one in designs if find_weights(one.arch_key, study) is None
    }
    if lacking:
        say(
            f"{', '.join(lacking.values())}: not recovered yet; training for "
            f"{study.config.protocol.recovery.steps} steps each, as for a label (UNets with "
            "inherited weights are there without that)"
        )
        run_harness(RecoverRequest(study=study.root, arch_keys=tuple(lacking)))


def recovered_weights(source: ExportSource) -> Path:
    """The recovered weights of a design, recovering it now where they are missing."""
    study, arch_key = source.study, source.design.arch_key
    recover_missing([source.design], study)
    weights = find_weights(arch_key, study)
    if weights is None:
        raise WorkError(
            f"recovering {arch_key} must have made {study.recovered_file(arch_key)}, but has not"
        )
    return weights


def find_weights(arch_key: str, study: StudyFolder) -> Path | None:
    """The recovered weights that are there: of an ended long recovery, else of the short one.

    Raises:
        WorkError: those of the long recovery are not as they were written.
    """
    if _read_long_values(arch_key, study):
        weights = study.finetuned_dir(arch_key) / "weights.safetensors"
        if origin_of(weights, study.hashes.of) is None:
            raise WorkError(
                f"{weights} must be as the long recovery wrote it, but is missing or damaged; "
                f"remove {weights.parent}, then recover again"
            )
        return weights
    weights = study.recovered_file(arch_key)
    if weights.is_file() and origin_of(weights, study.hashes.of) is None:
        say(f"{weights} is damaged, or not noted as what it is; it is made again")
        return None
    return weights if weights.is_file() else None


def release_weights(study: StudyFolder, most: int = UNEXPORTED) -> int:
    """Remove the weights of designs that are not exported, where they take over `most` bytes.

    They are made again when they are asked for, as those of a design whose label is of a table.

    Returns:
        The bytes that were freed; 0 where small weights stay.
    """
    designs, folder = read_designs(study), study.pipelines_dir
    exported = {design.arch_key for design in designs if (folder / design.name).is_dir()}
    others = {design.arch_key for design in designs} - exported
    files = [study.recovered_file(key) for key in sorted(others)]
    sizes = {file: file.stat().st_size for file in files if file.is_file()}
    total = sum(sizes.values())
    if total <= most:
        return 0
    for weights in sizes:
        forget_note(weights)
        weights.unlink(missing_ok=True)
    say(
        f"weights of designs that are not exported ({len(sizes)} files, {total / 1e9:.1f} GB) are "
        "removed; an export of one of them makes its weights again"
    )
    return total


def _read_long_values(arch_key: str, study: StudyFolder) -> dict[str, Measurement]:
    values = read_recovery_values(study.finetuned_dir(arch_key) / "values.json")
    return values.after if values else {}
