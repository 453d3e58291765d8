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
    """Which pipeline is made smaller.

    Attributes:
        pipeline: "tiny", the embedded model; or a diffusers folder, a `.safetensors` file in the
            original layout, or a hub id.
        inpaint: whether `pipeline` paints from words and is to learn to inpaint first; the teacher
            is then what it has become (`study.teacher`).
        tuning: how it learns that.
    """

    pipeline: str = "tiny"
    inpaint: bool = False
    tuning: TeacherTuning = TeacherTuning()


class SpaceConfig(FrozenModel):
    """Which architectures there are, and which of them are measured.

    Attributes:
        name: "tiny", "sd14", "sd14-blocks" or "sd14-wide" (widths too).
        resize_level_0: whether level 0 has a choice of widths; for "sd14-wide" alone.
        labels: how many architectures are drawn to be measured.
        strategy: how they are drawn. "uniform": all with the same chance. "stratified": each option
            of each level appears. "probe": within the budget, those near the front of a probe more
            often.
        seed: seed of the draw.
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
    """Which predictor learns from the labels, and how blocks are scored.

    Attributes:
        kind: the predictor. "auto": the one that ranks held-out labels best.
        target: what it learns, an expression over label columns; higher is better.
        rule: how an option is scored. "partial-dependence": by what it changes in the prediction.
            The others read norms of embeddings, as the published method does.
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
    """Which methods build how many designs, and what these may cost.

    Attributes:
        methods: names of methods; or "auto": two that learn from labels, and the rules without
            labels that they have to beat.
        top: designs of each method.
        budget: the most that a design may cost.
        least_difference: how many kept blocks two designs of one method differ in at least.
        latency_table: the file, in the study or by its path, that a budget of `latency_ms` needs;
            `sdsearch latency` writes it.
        loads_in: programs that must load every design.
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
    """How a design is trained before it is exported.

    Attributes:
        recovery: the long fine-tuning of a design.
    """

    recovery: LongRecovery = LongRecovery()


class LabelConfig(FrozenModel):
    """Where measurements run, and how long they may take; nothing here changes a value.

    Attributes:
        executor: "local": this machine, and any other on which the command is started; "ray": a
            Ray cluster.
        time_limit: seconds that one measurement may take.
        lease: seconds after which the work of a silent worker goes to another one.
        attempts: how often an architecture may end its process before it counts as failed.
        rungs: the cheaper measurements of successive halving, cheapest first.
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
    """What report and cards compare with.

    Attributes:
        preset: the benchmark whose published values are shown beside the measured ones: its name,
            or a `.toml` file.
        margin: the share of the teacher's distance by which a design may be worse and still count
            as equally good.
    """

    preset: str | None = None
    margin: float = Field(0.01, gt=0, lt=1)


class StudyConfig(FrozenModel):
    """The contents of study.toml.

    Attributes:
        teacher: which pipeline is made smaller.
        space: which architectures there are, and which of them are measured.
        protocol: how each is measured.
        seed: seed of noise and recovery in every label; study.toml has it in [protocol].
        label: where measurements run.
        machine: how work is cut to fit the machine.
        ranker: which predictor learns from the labels.
        build: which methods build designs under which budget.
        export: how a design is trained before it is exported.
        report: what report and cards compare with.
    """

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
