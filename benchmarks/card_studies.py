"""Studies of a random teacher for pretended cards, and what their labels and recoveries took."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.card_shell import has_8bit
from benchmarks.full_size import choose_design
from sdsearch.api.template import fill_template
from sdsearch.design import Design, DesignFile
from sdsearch.design.designs import Prediction
from sdsearch.errors import WorkError
from sdsearch.files import write_atomic
from sdsearch.study import (
    Listing,
    Origin,
    load_meter,
    read_listing,
    read_sample,
    read_study,
    write_sample,
)
from sdsearch.unet import UNPRUNED
from sdsearch_eval.planning.proposals import propose_settings
from sdsearch_eval.planning.settling import describe_work

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.card_shell import Ran, Shell
    from sdsearch.planning import Need, Proposal, StudyPlan
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture

    Settings = dict[str, dict[str, Any]]
    """Values by section and key of study.toml."""
Stage = Literal["label", "recover"]
DESIGN = "autobuild-1"
_EIGHT_BIT = "adamw8bit"


@dataclass(frozen=True, slots=True)
class Step:
    """A label, or a long recovery: what the plan said, and what was seen.

    Attributes:
        what: the architecture, and the settings that were put into study.toml.
        card: gigabytes of the pretended card; None: the whole one.
        said: bytes that the plan counts; `said_seconds` its seconds, where it says some.
        seen: what the card saw; empty without a GPU.
        recorded: peak of the label itself, as the label records it.
        seconds: of the label by its own clock, or of the command; `command` is always the latter.
        phases: seconds of a label by phase.
    """

    what: str
    card: float | None
    said: int | None
    said_seconds: float | None
    seen: dict[str, int]
    recorded: int | None
    seconds: float
    command: float
    phases: dict[str, float]


def begin_study(shell: Shell, folder: Path, settings: Settings) -> dict[str, float]:
    """Make and sample a study as a user does; seconds of each command."""
    root = folder / "study"
    inputs = ("--teacher", folder / "teacher", "--images", folder / "photos")
    made = shell.run("init", root, *inputs, "--space", "sd14", "--share", "0.60")
    _edit(root, root, settings)
    return {"init": made.seconds, "sample": shell.run("sample", root).seconds}


def copy_study(
    study: StudyFolder, name: str, arch: Architecture, lines: Sequence[str] = ()
) -> StudyFolder:
    """A study beside another that is about one architecture, which is a built design of it.

    `lines` are settings as a plan proposes them; what all labels share is shared by all copies. The
    design is not built: a fit on a few labels of a random teacher says nothing.
    """
    root, shared = study.root.with_name(name), study.root.with_name("features")
    _edit(study.root, root, read_lines(lines))
    shared.mkdir(exist_ok=True)
    (root / "features").symlink_to(shared)
    made = read_study(root)
    write_sample(made, Listing.of([(arch, Origin(kind="sample", name="chosen"))]))
    file = DesignFile(
        protocol_key=made.protocol_key,
        target=made.config.ranker.target.expression,
        budget=made.config.build.budget,
        designs=(_describe(arch, made),),
    )
    write_atomic(made.designs_file, file.model_dump_json(indent=2) + "\n")
    return made


def read_lines(lines: Sequence[str]) -> Settings:
    """Settings by section, of lines such as "[machine] micro_batch = 4"."""
    found: Settings = {}
    for line in lines:
        section, _, setting = line.removeprefix("[").partition("] ")
        found.setdefault(section, {}).update(tomllib.loads(setting))
    return found


@dataclass(frozen=True, slots=True)
class Proof:
    """Holds a plan to what happens.

    Attributes:
        study: which was sampled, and is copied; `whole` is its copy that was planned.
        kind: of the device that all of this runs on.
        plan: None where there is none; settings are then counted here, as a plan counts them.
    """

    shell: Shell
    study: StudyFolder
    whole: StudyFolder
    kind: str
    plan: StudyPlan | None

    @property
    def needs(self) -> dict[str, Need]:
        """What the plan says of each stage."""
        return {need.stage: need for need in self.plan.needs} if self.plan else {}

    @property
    def design(self) -> Architecture:
        """The sampled architecture of at most 60 % that plays the built design."""
        return choose_design(self.study)

    @property
    def small(self) -> Architecture:
        """BK-SDM Tiny."""
        key = read_listing(self.study).member("bk-tiny")
        assert key is not None, "it is a named member of the space"
        return read_listing(self.study).architectures[key]

    def label_on(self, card: float) -> Step:
        """Label the design on a card, or the small architecture where that needs what is missing.

        Raises:
            WorkError: neither may fit, or the label failed.
        """
        for arch in (self.design, self.small):
            found = self._propose(arch, "label", card)
            if _can_be(found):
                return self.label(f"label-{card:g}", arch, found.lines, found)
        raise WorkError(f"nothing may fit {card:g} GB without bitsandbytes, as it is here")

    def label_whole(self) -> Step:
        """Label the design on the whole card, for which the plan tells a time.

        Then the teacher is put beside it, as it is in every sample, where pictures look for it.
        """
        ran, needs = self.shell.run("label", self.whole.root), self.needs
        peaks = [needs[stage].memory.total for stage in ("prepare", "label") if stage in needs]
        most, seconds = max(peaks, default=None), needs["label"].seconds if needs else None
        step = self._labelled(self.whole, self.design, ran, (), None, most, seconds)
        teacher = UNPRUNED, Origin(kind="member", name="teacher")
        write_sample(self.whole, Listing.of([*read_sample(self.whole).pairs(), teacher]))
        return step

    def label(
        self, name: str, arch: Architecture, lines: Sequence[str], said: Proposal | None = None
    ) -> Step:
        """Label an architecture with some settings, on the card that they are proposed for."""
        study = copy_study(self.study, name, arch, lines)
        card, need = (said.gigabytes, said.need) if said else (None, None)
        ran = self.shell.run("label", study.root, card=card)
        return self._labelled(study, arch, ran, lines, card, need, None)

    def recover_on(self, *cards: float, told: bool = False) -> Step:
        """Recover the design on the first card on which it may; `told`: its time counts.

        Raises:
            WorkError: it may not fit any, or it failed.
        """
        for card in cards:
            found = self._propose(self.design, "recover", card)
            if _can_be(found):
                study = copy_study(self.study, f"recover-{card:g}", self.design, found.lines)
                ran = self.shell.run("recover", study.root, "--design", DESIGN, card=card)
                seconds = self.needs["recover"].seconds if self.needs else None
                return Step(
                    what=_say(self.design, found.lines),
                    card=card,
                    said=found.need,
                    said_seconds=seconds if told and not found.lines else None,
                    seen=dict(ran.seen),
                    recorded=None,
                    seconds=ran.seconds,
                    command=ran.seconds,
                    phases={},
                )
        raise WorkError(f"a long recovery fits none of {cards} GB without bitsandbytes, as it is")

    def _propose(self, arch: Architecture, stage: Stage, card: float) -> Proposal:
        """The plan's settings for a card; those of what it is not about by the same count."""
        for found in self.plan.proposals if self.plan and arch == self.design else ():
            if (found.gigabytes, found.stage) == (card, stage):
                return found
        return propose_settings(describe_work(self.study, self.kind), arch, stage, card)

    def _labelled(
        self,
        study: StudyFolder,
        arch: Architecture,
        ran: Ran,
        lines: Sequence[str],
        card: float | None,
        said: int | None,
        said_seconds: float | None,
    ) -> Step:
        known = read_study(study.root)
        label = known.labels.read_series(known.series)[arch.key]
        if label.failure:
            raise WorkError(f"the label failed: {label.failure}")
        phases = label.provenance["seconds"]
        return Step(
            what=_say(arch, lines),
            card=card,
            said=said,
            said_seconds=said_seconds,
            seen=dict(ran.seen),
            recorded=label.provenance.get("peak_device_bytes"),
            seconds=round(sum(phases.values()), 1),
            command=ran.seconds,
            phases=phases,
        )


def show_step(step: Step) -> str:
    """What was seen, beside what the plan had said."""
    seen, phases = step.seen, ", ".join(f"{name} {x:.1f}" for name, x in step.phases.items())
    rows = [
        ("peak of tensors", _gb(step.said), _gb(seen.get("allocated"))),
        ("the same, as the label records its own part", "", _gb(step.recorded)),
        ("held by the allocator, of at most", _gb(seen.get("limit")), _gb(seen.get("reserved"))),
        ("memory refused, times", "", str(seen.get("refused", ""))),
        ("seconds", "" if step.said_seconds is None else f"{step.said_seconds:.1f}", step.seconds),
        ("seconds of the whole command", "", step.command),
    ]
    lines = ["| what | plan | seen |", "| --- | --- | --- |"]
    lines += [f"| {what} | {said} | {was} |" for what, said, was in rows]
    card = "the whole card" if step.card is None else f"{step.card:g} GB"
    return "\n".join([f"On {card}, {step.what}.", "", *lines, *(["", phases] if phases else [])])


def ask_plan(shell: Shell, study: StudyFolder) -> dict[str, Any]:
    """What `sdsearch plan` says of a study, as JSON; problems are said there."""
    said: dict[str, Any] = json.loads(shell.run("plan", study.root, "--json", fine=(0, 2)).output)
    return said


def _can_be(proposal: Proposal) -> bool:
    """Whether settings fit their card and need no package that is missing."""
    needs_8bit = any(_EIGHT_BIT in line for line in proposal.lines)
    return proposal.fits and (has_8bit() or not needs_8bit)


def _say(arch: Architecture, lines: Sequence[str]) -> str:
    return f"{arch.key}: {'; '.join(lines) or 'settings as they are'}"


def _edit(source: Path, target: Path, settings: Settings) -> None:
    text = (source / "study.toml").read_text(encoding="utf-8")
    write_atomic(target / "study.toml", fill_template(text, settings), target.parent)


def _describe(arch: Architecture, study: StudyFolder) -> Design:
    """The design as designs.json has it: with its costs, without reasons."""
    costs = load_meter(study).member(arch)
    return Design(
        name=DESIGN,
        method="autobuild",
        rank=1,
        arch_key=arch.key,
        architecture=arch,
        params=int(costs["params"]),
        macs=int(costs["macs"]),
        memory_bytes=int(costs["memory_bytes"]),
        file_bytes=int(costs["file_bytes"]),
        predicted=Prediction(target=0.0, se=0.0),
        score=0.0,
        reasons=(),
    )


def _gb(count: int | None) -> str:
    return "" if count is None else f"{count / 1e9:.2f} GB"
