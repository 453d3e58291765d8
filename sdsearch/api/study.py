"""The study as Python users meet it: a method for every stage, two tables, the built designs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.api.design import StudyDesign
from sdsearch.report import html_table
from sdsearch.study import (
    adopt_labels,
    find_design,
    inspect_study,
    load_space,
    open_study,
    read_designs,
    read_study,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pandas import DataFrame

    from sdsearch.api.verify import FileReport
    from sdsearch.design import Probe, Scores
    from sdsearch.labels import ImportReport
    from sdsearch.planning import RunPlan, StudyPlan
    from sdsearch.ranker import FitReport
    from sdsearch.report import Outcome
    from sdsearch.space import SearchSpace
    from sdsearch.stages import Choice, Executor, Precision
    from sdsearch.study import Listing, StudyConfig, StudyFolder
    from sdsearch.unet import Architecture
    from sdsearch.workers import LabelStatus, RungReport


def load_study(path: Path | str) -> Study:
    """Load a study from its folder, as its study.toml says now.

    >>> import sdsearch, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> sdsearch.create_study(folder) == sdsearch.load_study(folder)
    True

    Raises:
        InputError: there is no study.toml, or it is invalid: the section, the key and the nearest
            known key are named.
    """
    return Study(read_study(path))


@dataclass(slots=True, repr=False)
class Study:
    """One search: a folder in which every stage leaves what it made, and resumes when it is killed.

    Make one with `create_study`, load one with `load_study`. A stage does first what it needs
    (`build` scores, `score` fits), and skips what is current. `labels` and `designs` are read at
    each look; no other attribute reads a file.

    Attributes:
        folder: root and configuration, as the functions of `sdsearch.stages` take them. It is what
            study.toml said when the study was loaded, and what the files it names held when work
            last began; load it again after an edit.

    >>> import sdsearch, tempfile
    >>> study = sdsearch.create_study(tempfile.mkdtemp(), budget=0.6)
    >>> len(study.sample())  # the four named members and 68 others
    72
    >>> imported = study.import_labels()  # the tiny model comes with them: hours of `label`
    >>> study.status()[0].ok
    72
    >>> teacher = sdsearch.Architecture.parse("teacher")
    >>> print(study.labels.fd_efflite0[teacher.key].round(2))
    218.35
    """

    folder: StudyFolder

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.root

    @property
    def config(self) -> StudyConfig:
        """What study.toml said when the study was loaded."""
        return self.folder.config

    @property
    def labels(self) -> DataFrame:
        """The labels under the study's protocol and seed, a row each by architecture key, read now.

        docs/metrics.md says what the columns are.

        Raises:
            InputError: pandas is not installed.
        """
        from sdsearch.api.frames import frame_labels

        return frame_labels(self.folder.labels.read_series(self.folder.series).values())

    @property
    def designs(self) -> DataFrame:
        """The built designs, a row each, by name, read now; none before `build`.

        Raises:
            InputError: pandas is not installed.
        """
        from sdsearch.api.frames import frame_designs

        return frame_designs(read_designs(self.folder))

    def __repr__(self) -> str:
        config = self.config
        budget = config.build.budget.model_dump(exclude_none=True)
        return (
            f"Study({str(self.path)!r}, teacher={config.teacher.pipeline!r}, "
            f"space={config.space.name!r}, budget={budget})"
        )

    def _repr_html_(self) -> str:
        labels = self.folder.labels.read_series(self.folder.series).values()
        failed = sum(label.failure is not None for label in labels)
        designs = [design.name for design in read_designs(self.folder)]
        rows = [
            ("teacher", self.config.teacher.pipeline),
            ("space", self.config.space.name),
            ("budget", str(self.config.build.budget.model_dump(exclude_none=True) or "none")),
            ("target", self.config.ranker.target.expression),
            ("protocol and seed", str(self.folder.series)),
            ("labels", f"{len(labels) - failed} measured, {failed} failed"),
            ("designs", ", ".join(designs) or "not built yet"),
        ]
        return html_table(f"study {self.path}", rows)

    def space(self) -> SearchSpace:
        """The search space on the teacher's own backbone, whose configuration is read now."""
        return load_space(self.folder)

    def plan(self) -> StudyPlan:
        """Say what is left to do will take here: memory, disk and time.

        The study keeps the plan, for the times that `outline` and `run` tell.

        Returns:
            The needs of every stage, settings for smaller cards, and what would be refused later.
        """
        from sdsearch.planning import keep_plan, plan_study

        study = self._open()
        plan = plan_study(study)
        keep_plan(study, plan)
        return plan

    def outline(self) -> RunPlan:
        """What `run` would do now: each step, what of it is done, and how long the rest takes.

        Times are those of labels so far, and of the last `plan` on this machine.
        """
        from sdsearch.stages import outline_study

        return outline_study(self._open())

    def tune(self, *, processes: int = 1) -> Path:
        """Have a teacher that paints from words learn to inpaint, by `[teacher.tuning]`.

        Returns:
            The folder of the teacher, a stock inpainting pipeline.
        """
        from sdsearch.stages import tune_teacher

        return tune_teacher(self._open(), processes)

    def probe(self, *, samples: int | None = None, timesteps: int | None = None) -> Probe:
        """Measure what the teacher loses with each removal: no label, a few dozen forward passes.

        `probe.svg` in the study's folder shows every block with its error, MACs and milliseconds.

        Args:
            samples: pictures that the teacher is asked about at each timestep, by default 8.
            timesteps: how many timesteps, by default 4.
        """
        from sdsearch.stages import probe_study

        return probe_study(self._open(), samples, timesteps)

    def sample(self) -> Listing:
        """Pick the architectures to measure: architectures.jsonl, the same every time."""
        from sdsearch.stages import sample_study

        return sample_study(self.folder)

    def propose(self, count: int = 16, choice: Choice = "active") -> list[Architecture]:
        """Add `count` architectures to measure to the sample.

        Args:
            count: how many.
            choice: "active": those that the predictor would learn most from; "probe": those that a
                probe puts near the budget's front.
        """
        from sdsearch.stages import propose_architectures

        return propose_architectures(self.folder, count, choice)

    def prepare(self, *, processes: int = 1, rungs: bool = False) -> None:
        """Compute what all labels share, before many workers start at once."""
        from sdsearch.stages import prepare_study

        prepare_study(self._open(), processes=processes, rungs=rungs)

    def label(
        self,
        *,
        processes: int = 1,
        executor: Executor | None = None,
        seed: int | None = None,
        only: Sequence[str] = (),
    ) -> None:
        """Measure every sampled and built architecture that has no label yet.

        Call it on as many machines as share the folder: each takes what is free.

        Args:
            processes: how many GPUs work together on one label.
            executor: "local" or "ray"; default: that of `[label]`.
            seed: the label seed; default: the study's.
            only: keys of architectures; default: all.
        """
        from sdsearch.stages import label_study

        label_study(self._open(), processes=processes, executor=executor, seed=seed, only=only)

    def label_by_halving(
        self, *, processes: int = 1, executor: Executor | None = None
    ) -> list[RungReport]:
        """Measure all by the cheaper protocols of `[label] rungs`, only the best by the study's."""
        from sdsearch.stages import halve_study

        return halve_study(self._open(), processes=processes, executor=executor)

    def import_labels(self, table: Path | str | None = None) -> ImportReport:
        """Import a label table (JSONL) of this protocol and teacher; None: the tiny model's own."""
        from pathlib import Path

        from sdsearch.stages import import_table

        return import_table(self._open(), None if table is None else Path(table))

    def check(self) -> Path:
        """Read all that labels would read, before any hour is spent; prints what it is.

        Returns:
            The contact sheet: the first 16 photos, their holes and captions, as labels see them.
        """
        return inspect_study(self.folder)

    def verify(self) -> FileReport:
        """Compare every file of the study with the hash that was kept of its content.

        What is damaged and can be made again is made again when it is needed.
        """
        from sdsearch.api.verify import verify_files

        return verify_files(self.folder)

    def adopt(self) -> None:
        """Rename labels measured on the same files and networks under names that came before."""
        self.folder = adopt_labels(self.folder)

    def forget_failed(self) -> int:
        """Remove the failed labels, so that `label` measures them again; returns their number."""
        from sdsearch.stages import forget_failed

        return forget_failed(self.folder)

    def recompute(self) -> None:
        """Compute the values of all labels again from their kept rows, without sampling."""
        from sdsearch.stages import recompute_labels

        recompute_labels(self._open())

    def status(self) -> list[LabelStatus]:
        """What is measured, failed, running and left: of each begun rung, then of the study."""
        from sdsearch.stages import read_statuses

        return read_statuses(self.folder)

    def fit(self) -> FitReport:
        """Fit the predictor on the labels; returns how well it ranks what it has not seen."""
        from sdsearch.stages import fit_study

        return fit_study(self.folder)

    def score(self) -> Scores:
        """Score blocks and options of levels, from every architecture of the space."""
        from sdsearch.stages import score_study

        return score_study(self.folder)

    def build(self, methods: Sequence[str] = ()) -> tuple[StudyDesign, ...]:
        """Build the best designs under the budget, by each method of `[build]`.

        Args:
            methods: other methods than the study's, for this time.
        """
        from sdsearch.stages import build_study

        found = build_study(self.folder.with_methods(methods))
        return tuple(StudyDesign(self.folder, design) for design in found)

    def design(self, name: str) -> StudyDesign:
        """The built design of this name.

        Raises:
            InputError: there is none; the nearest name is given.
        """
        return StudyDesign(self.folder, find_design(self.folder, name))

    def recover(self, name: str, *, processes: int = 1) -> Path:
        """Recover a design by the long recipe of `[export.recovery]`; returns the folder of it."""
        from sdsearch.stages import recover_design

        return recover_design(self._open(), name, processes)

    def compare(self) -> Path:
        """Inpaint the same holes by the teacher and the best designs; returns the picture."""
        from sdsearch.stages import compare_study

        return compare_study(self._open())

    def export(self, *names: str, single_file: Precision | None = None) -> list[Path]:
        """Export the named designs, by default the best measured, as stock diffusers pipelines.

        Args:
            names: of designs.
            single_file: "float16" or "float32": also as `NAME.safetensors` in its folder, in the
                original layout that ComfyUI reads.

        Raises:
            InputError: a design is not exact in the original layout; the reason is said.
        """
        from sdsearch.stages import export_designs

        return export_designs(self.folder, names, single_file)

    def outcome(self) -> Outcome:
        """Who found the better architectures: the table of measured values."""
        from sdsearch.report import summarize_outcome

        return summarize_outcome(self.folder)

    def report(self) -> Path:
        """Print the outcome and write report.html, one offline file; returns its path."""
        from sdsearch.report import report_study

        return report_study(self.folder)

    def run(self) -> Path:
        """Do all steps, from tuning where it is asked for; returns the report's path.

        What is done is skipped; `outline` says beforehand what is not.
        """
        from sdsearch.stages import run_study

        return run_study(self._open())

    def _open(self) -> StudyFolder:
        """The folder once the files that it names were read, which name its labels."""
        self.folder = open_study(self.folder)
        return self.folder
