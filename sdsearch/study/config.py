"""The contents of study.toml: sections, defaults, and words for what is wrong in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, ValidationError

from sdsearch.design import Method, PredictorKind, Rule
from sdsearch.errors import InputError, suggest
from sdsearch.labels import LongRecovery, Protocol, Rung, Target, TeacherTuning
from sdsearch.model import FrozenModel
from sdsearch.space import LOADERS, Budget, Loader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


Strategy = Literal["uniform", "stratified", "probe"]


class TeacherConfig(FrozenModel):
    """Which pipeline is specialized: "tiny", a diffusers folder, a single file or a hub id.

    With `inpaint` it is one that paints from words, and the teacher is what becomes of it when it
    learns to inpaint, as `tuning` says (`study.teacher`).
    """

    pipeline: str = "tiny"
    inpaint: bool = False
    tuning: TeacherTuning = TeacherTuning()


class SpaceConfig(FrozenModel):
    """Which space is searched and how many of its members are labelled, picked how.

    `strategy` is "uniform", "stratified" (every option of every unit appears) or "probe": members
    within the budget, the more the nearer to its front a probe puts them. `resize_level_0` is for
    `sd14-wide` alone: level 0 gets a choice of widths too.
    """

    name: str = "tiny"
    resize_level_0: bool = False
    labels: int = Field(68, ge=1)
    strategy: Strategy = "uniform"
    seed: int = Field(0, ge=0)


def _parse_target(said: object) -> Target:
    if isinstance(said, Target):
        return said
    if not isinstance(said, str):
        raise ValueError("a target is text, such as '-log(fd_efflite0)'")
    return Target(said)


ParsedTarget = Annotated[
    Target,
    PlainValidator(_parse_target),
    PlainSerializer(lambda target: target.expression, return_type=str),
]
"""A target, parsed where the file is read; in files it is its expression."""


class RankerSettings(FrozenModel):
    """Which predictor learns what target from the labels, and how options are scored.

    `rule` "partial-dependence" scores an option by what it changes in the prediction. The others
    are of the published method's family, which reads norms of embeddings; see `docs/scores.md`.
    """

    kind: Literal["auto"] | PredictorKind = "auto"
    target: ParsedTarget = Target("-log(fd_efflite0)")
    rule: Rule = "partial-dependence"


AUTO_METHODS: tuple[Method, ...] = ("autobuild", "exhaustive", "one-shot", "most-macs", "random")
"""What `methods = "auto"` builds by; `one-shot` only where the study has a probe."""


def _parse_methods(said: object) -> object:
    if said == "auto":
        return said
    if not isinstance(said, list | tuple):
        raise ValueError('methods are "auto" or a list of names, such as ["autobuild"]')
    for name in said:
        _check_method(str(name))
    return tuple(said)


def _check_method(name: str) -> None:
    if name not in (known := get_args(Method)):
        raise ValueError(
            f"a method must be one of {', '.join(known)}, but is {name!r}{suggest(name, known)}"
        )


def _parse_loaders(said: object) -> object:
    if not isinstance(said, list | tuple):
        raise ValueError('loads_in is a list of names, such as ["comfyui"]')
    for name in said:
        if name not in LOADERS:
            raise ValueError(
                f"a name in loads_in must be one of {', '.join(LOADERS)}, but is {name!r}"
                f"{suggest(name, LOADERS)}"
            )
    return tuple(dict.fromkeys(said))


Methods = Annotated[Literal["auto"] | tuple[Method, ...], BeforeValidator(_parse_methods)]


class BuildConfig(FrozenModel):
    """Which methods build how many designs under which budget.

    `methods` are names, or "auto": two that learn, and the rules that they have to beat. Designs
    of one differ in at least `least_difference` kept blocks; `latency_table` is a file in the
    study, or a path, that a budget of `latency_ms` needs. All load in each of `loads_in`.
    """

    methods: Methods = "auto"
    top: int = Field(4, ge=1)
    budget: Budget = Budget()
    least_difference: int = Field(1, ge=1)
    latency_table: str | None = None
    loads_in: Annotated[tuple[Loader, ...], BeforeValidator(_parse_loaders)] = ()

    def methods_for(self, *, probed: bool) -> tuple[Method, ...]:
        """The methods of a study that has a probe, or has none."""
        if self.methods != "auto":
            return self.methods
        return tuple(name for name in AUTO_METHODS if probed or name != "one-shot")


class ExportConfig(FrozenModel):
    """How a design is recovered before it is exported, beyond the short recovery of labels."""

    recovery: LongRecovery = LongRecovery()


class LabelConfig(FrozenModel):
    """Who labels, and what a label may cost; nothing here changes a value.

    `time_limit` is in seconds for one label, `lease` in seconds that a silent worker keeps its
    claim, `attempts` how often an architecture may end its own process before it counts as failed.
    `rungs` are the cheaper measurements of successive halving, cheapest first.
    """

    executor: Literal["local", "ray"] = "local"
    time_limit: float = Field(7200, gt=0)
    lease: float = Field(60, gt=0)
    attempts: int = Field(3, ge=1)
    rungs: tuple[Rung, ...] = (Rung(),)


class MachineConfig(FrozenModel):
    """How work is cut so that it fits a machine; nothing here changes what a label means.

    Attributes:
        gradient_checkpointing: whether a recovery computes activations twice instead of keeping
            them; "auto": where a step does not fit otherwise.
        micro_batch: images of a recovery's batch at once, their gradients summed; "auto": as many
            as fit.
        teacher: where autoencoder and text encoder wait while a label's student learns from
            lessons that were made beforehand: on the "device", or in "host" memory; "auto": on the
            host.
        workers: processes that load pictures for a long recovery.
    """

    gradient_checkpointing: Literal["auto"] | bool = "auto"
    micro_batch: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    teacher: Literal["auto", "device", "host"] = "auto"
    workers: int = Field(2, ge=0)


class ReportConfig(FrozenModel):
    """What report and cards show beside measured values, and which loss does not matter.

    `preset` names what is published beside them: a preset's name, or a `.toml` file. `margin` is
    the share of the teacher's distance by which a design may be worse and still be as good as it.
    """

    preset: str | None = None
    margin: float = Field(0.01, gt=0, lt=1)


class StudyConfig(FrozenModel):
    """The contents of study.toml; `seed` is the label seed, written as `protocol.seed` there."""

    teacher: TeacherConfig = TeacherConfig()
    space: SpaceConfig = SpaceConfig()
    protocol: Protocol = Protocol()
    seed: int = Field(0, ge=0, lt=2**32)
    label: LabelConfig = LabelConfig()
    machine: MachineConfig = MachineConfig()
    ranker: RankerSettings = RankerSettings()
    build: BuildConfig = BuildConfig()
    export: ExportConfig = ExportConfig()
    report: ReportConfig = ReportConfig()

    @property
    def needs_probe(self) -> bool:
        """Whether it asks for what only a probe can give: by strategy, predictor or method."""
        asked = {self.ranker.kind, *self.build.methods_for(probed=False)}
        by_errors = not asked.isdisjoint(("gnn-probe", "ridge-probe", "one-shot"))
        return by_errors or self.space.strategy == "probe"

    def with_methods(self, methods: Sequence[str]) -> StudyConfig:
        """The same with other methods in [build].

        Raises:
            InputError: there is no method of a name; the nearest is given.
        """
        try:
            for method in methods:
                _check_method(method)
        except ValueError as error:
            raise InputError(str(error)) from None
        build = self.build.model_copy(update={"methods": tuple(methods)})
        return self.model_copy(update={"build": build})


def parse_config(data: dict[str, Any], file: Path) -> StudyConfig:
    """Validate what a study.toml holds; `InputError` names the section, the key and the nearest."""
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
        known = _known(names[:-1])
        return f"unknown key {names[-1]!r} {place}" + suggest(
            names[-1], known, f"the keys there are {', '.join(sorted(known))}"
        )
    if names == ["seed"]:
        place = "in [protocol]"
    return f"{names[-1]!r} {place} is {_show(problem['input'])}: {problem['msg']}"


def _show(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes no number of thousands of digits
        return "a number too long to show"


def _known(path: Sequence[str]) -> list[str]:
    """Return the keys that the section at `path` may have."""
    model: Any = StudyConfig
    for name in path:
        model = get_args(model)[0] if name.isdigit() else model.model_fields[name].annotation
        if get_origin(model) is not tuple and not hasattr(model, "model_fields"):
            return ["share"]  # a limit of the budget: a number or a share
    known = set(model.model_fields) - ({"seed"} if model is StudyConfig else set())
    return sorted(known | {"seed"} if model is Protocol else known)
