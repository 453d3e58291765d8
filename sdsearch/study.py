"""Study: one folder that holds one search, and study.toml, the one file that configures it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sdsearch.budget import Budget
from sdsearch.content import content_key
from sdsearch.designs import Method
from sdsearch.errors import InputError, nearest
from sdsearch.files import write_atomic
from sdsearch.latency_table import LatencyTable, read_table
from sdsearch.protocol import LongRecovery, Protocol, Rung
from sdsearch.scores import Rule
from sdsearch.space import SearchSpace, search_space
from sdsearch.target import Target
from sdsearch.teacher import teacher_backbone

if TYPE_CHECKING:
    from collections.abc import Sequence

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TeacherConfig(BaseModel):
    """Which pipeline is specialized: "tiny", a local diffusers folder or a hub id."""

    model_config = _FROZEN

    pipeline: str = "tiny"


class SpaceConfig(BaseModel):
    """Which space is searched and how many of its members are labelled, picked how.

    `resize_level_0` is for `sd14-wide` alone: level 0 gets a choice of widths too.
    """

    model_config = _FROZEN

    name: str = "tiny"
    resize_level_0: bool = False
    labels: int = Field(68, ge=1)
    strategy: Literal["uniform", "stratified"] = "uniform"
    seed: int = Field(0, ge=0)


class RankerSettings(BaseModel):
    """Which predictor learns what target from the labels, and how options are scored."""

    model_config = _FROZEN

    kind: Literal["auto", "gnn", "ridge", "ridge-pairs", "forest"] = "auto"
    target: str = "-log(fd_efflite0)"
    rule: Rule = "graph"


class BuildConfig(BaseModel):
    """Which methods build how many designs under which budget.

    Two designs of a method differ in at least `least_difference` kept blocks; `latency_table` is a
    file in the study, or a path, that a budget of `latency_ms` needs.
    """

    model_config = _FROZEN

    methods: tuple[Method, ...] = ("autobuild", "exhaustive", "random")
    top: int = Field(4, ge=1)
    budget: Budget = Budget()
    least_difference: int = Field(1, ge=1)
    latency_table: str | None = None


class ExportConfig(BaseModel):
    """How a design is recovered before it is exported, beyond the short recovery of labels."""

    model_config = _FROZEN

    recovery: LongRecovery = LongRecovery()


class LabelConfig(BaseModel):
    """Who labels, and what a label may cost; nothing here changes a value.

    `time_limit` is in seconds for one label, `lease` in seconds that a silent worker keeps its
    claim, `attempts` how many workers may die on an architecture before it counts as failed.
    `rungs` are the cheaper measurements of `sdsearch label --halving`, cheapest first.
    """

    model_config = _FROZEN

    executor: Literal["local", "ray"] = "local"
    time_limit: float = Field(7200, gt=0)
    lease: float = Field(60, gt=0)
    attempts: int = Field(3, ge=1)
    rungs: tuple[Rung, ...] = (Rung(),)


class StudyConfig(BaseModel):
    """The contents of study.toml; `seed` is the label seed, written as `protocol.seed` there."""

    model_config = _FROZEN

    teacher: TeacherConfig = TeacherConfig()
    space: SpaceConfig = SpaceConfig()
    protocol: Protocol = Protocol()
    seed: int = Field(0, ge=0, lt=2**32)
    label: LabelConfig = LabelConfig()
    ranker: RankerSettings = RankerSettings()
    build: BuildConfig = BuildConfig()
    export: ExportConfig = ExportConfig()


@dataclass(frozen=True, slots=True)
class Study:
    """A study folder and its validated configuration; every path below is inside `root`."""

    root: Path
    config: StudyConfig

    @property
    def labels_dir(self) -> Path:
        """One folder per architecture key, one JSON file per label."""
        return self.root / "labels"

    @property
    def claims_dir(self) -> Path:
        """Who works, or has worked, on which label."""
        return self.root / "claims"

    @property
    def features_dir(self) -> Path:
        """What all architectures share, cached by content: references, noise, embeddings."""
        return self.root / "features"

    @property
    def ranker_dir(self) -> Path:
        """The fitted ensemble."""
        return self.root / "ranker"

    @property
    def pipelines_dir(self) -> Path:
        """Exported diffusers pipelines."""
        return self.root / "pipelines"

    @property
    def compare_dir(self) -> Path:
        """The comparison picture and its description."""
        return self.root / "compare"

    @property
    def architectures_file(self) -> Path:
        """Architectures to label, one JSON object a line."""
        return self.root / "architectures.jsonl"

    @property
    def scores_file(self) -> Path:
        """Block scores."""
        return self.root / "scores.json"

    @property
    def designs_file(self) -> Path:
        """Built architectures with their reasons."""
        return self.root / "designs.json"

    @property
    def report_file(self) -> Path:
        """The offline report."""
        return self.root / "report.html"

    @property
    def space(self) -> SearchSpace:
        """The search space on the teacher's own backbone."""
        wanted, backbone = self.config.space, teacher_backbone(self.config.teacher.pipeline)
        return search_space(wanted.name, backbone, resize_level_0=wanted.resize_level_0)

    @property
    def latency_table(self) -> LatencyTable | None:
        """The latency table of [build], read now; None where none is named."""
        name = self.config.build.latency_table
        return None if name is None else read_table(self.root / name)

    def at_rung(self, rung: int | None) -> Study:
        """This study under the cheaper protocol of a rung of [label]; None means its own."""
        if rung is None:
            return self
        protocol = self.config.label.rungs[rung].cheapen(self.config.protocol)
        return replace(self, config=self.config.model_copy(update={"protocol": protocol}))

    def floors_path(self, seed: int) -> Path:
        """What the autoencoder alone and the teacher under other noise measure."""
        return self.root / "floors" / f"{self.config.protocol.key}-s{seed}.json"

    def rows_path(self, arch_key: str, seed: int) -> Path:
        """The folder of an architecture's per-sample rows under this protocol and a label seed."""
        return self.root / "rows" / arch_key / f"{self.config.protocol.key}-s{seed}"

    def finetuned_dir(self, arch_key: str) -> Path:
        """Checkpoints, log, pictures, values and weights of an architecture's long recovery."""
        recipe = content_key(self.config.export.recovery.model_dump(mode="json"))
        return self.root / "recovered" / arch_key / f"{recipe}-s{self.config.seed}"

    def recovered_path(self, arch_key: str) -> Path:
        """Where the recovered weights of an architecture lie under this protocol and seed."""
        name = f"{arch_key}-{self.config.protocol.key}-s{self.config.seed}.safetensors"
        return self.root / "weights" / name


def load_study(path: Path | str) -> Study:
    """Read a study folder; `InputError` names the section, the key and the nearest known key."""
    root = Path(path)
    file = root / "study.toml"
    if not file.is_file():
        raise InputError(f"a study needs {file}, but it is missing; run: sdsearch init {root}")
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} must be valid TOML: {error}") from None
    config = _parse(data, file)
    Target(config.ranker.target)
    return Study(root, config)


def init_study(path: Path | str, share: float | None = None) -> Study:
    """Make a study folder with a commented study.toml of defaults; an existing one is kept.

    Args:
        path: the folder.
        share: when given, a params budget as a share of the teacher.
    """
    file = Path(path) / "study.toml"
    if not file.exists():
        budget = f"{{ params = {{ share = {share} }} }}" if share else "{}"
        write_atomic(file, _TEMPLATE.replace("BUDGET", budget))
    return load_study(path)


def _parse(data: dict[str, Any], file: Path) -> StudyConfig:
    protocol = data.get("protocol", {})
    if "seed" in data:
        raise InputError(f"{file}: the label seed is written as seed in [protocol]")
    if isinstance(protocol, dict) and "seed" in protocol:
        rest = {key: value for key, value in protocol.items() if key != "seed"}
        data = {**data, "protocol": rest, "seed": protocol["seed"]}
    try:
        return StudyConfig.model_validate(data)
    except ValidationError as error:
        lines = [_explain(problem["loc"], problem) for problem in error.errors()]
        raise InputError(f"{file}: " + "; ".join(dict.fromkeys(lines))) from None


def _explain(where: Sequence[int | str], problem: Any) -> str:
    """Turn one pydantic problem into a sentence with the section and, for a typo, a hint."""
    names = [str(part) for part in where if part not in ("float", "Share", "[key]")]
    section = ".".join(names[:-1])
    place = f"in [{section}]" if section else "at the top"
    if problem["type"] == "extra_forbidden":
        hint = nearest(names[-1], _known(names[:-1]))
        return f"unknown key {names[-1]!r} {place}; did you mean {hint!r}?"
    if names == ["seed"]:
        place = "in [protocol]"
    return f"{names[-1]!r} {place} is {problem['input']!r}: {problem['msg']}"


def _known(path: Sequence[str]) -> list[str]:
    """Return the keys that the section at `path` may have."""
    model: Any = StudyConfig
    for name in path:
        model = get_args(model)[0] if name.isdigit() else model.model_fields[name].annotation
        if get_origin(model) is not tuple and not hasattr(model, "model_fields"):
            return ["share"]  # a limit of the budget: a number or a share
    known = set(model.model_fields) - ({"seed"} if model is StudyConfig else set())
    return sorted(known | {"seed"} if model is Protocol else known)


_TEMPLATE = """\
# One search. Everything has a default; unknown keys are errors. Every run re-reads this file.
[teacher]
pipeline = "tiny"            # "tiny" | a local diffusers folder | a hub id

[space]
name = "tiny"                # "tiny" | "sd14" | "sd14-blocks" | "sd14-wide"
labels = 68                  # members to measure before learning
strategy = "uniform"         # "uniform" | "stratified": every option of every level appears
seed = 0

[protocol]                   # all that may change a measured value; changing it starts new labels
dataset = "scenes"
masks = "mixed"              # "box" | "thin" | "medium" | "thick" | "object" | "mixed"
seed = 0                     # of the labels: noise and recovery

[ranker]
kind = "auto"
target = "-log(fd_efflite0)" # over label columns; higher is better

[build]
methods = ["autobuild", "exhaustive", "random"] # also "ridge", "evolution", "pareto"
top = 4                      # designs of each method
budget = BUDGET              # such as { params = { share = 0.60 } }; a bare number is absolute
"""
