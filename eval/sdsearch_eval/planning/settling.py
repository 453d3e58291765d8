"""Settling: how work is cut for the memory at hand; what cannot fit is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, model_validator

from sdsearch.console import say
from sdsearch.errors import InputError
from sdsearch.files import read_json_bytes, write_atomic
from sdsearch.keys import content_key
from sdsearch.model import SealedModel
from sdsearch.planning import host_memory
from sdsearch.study import MachineConfig, read_backbone
from sdsearch.unet import UNPRUNED, count_macs, count_params
from sdsearch_eval.counting import Counted, read_parts
from sdsearch_eval.devices import device_memory, name_device
from sdsearch_eval.planning.bounds import bound_memory
from sdsearch_eval.planning.fitting import USABLE, Fitted, fit_label, fit_prepare, fit_recover
from sdsearch_eval.planning.phases import Work
from sdsearch_eval.planning.proposals import Trained, propose_settings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import torch

    from sdsearch.labels import LongRecovery
    from sdsearch.study import Stage, StudyConfig, StudyFolder
    from sdsearch.unet import Architecture, Backbone


class FoundSettings(SealedModel):
    """A file of `plan/`: the settings under which a study's work fits a machine."""

    machine: MachineConfig

    @model_validator(mode="before")
    @classmethod
    def _read_earlier_form(cls, data: Any) -> Any:
        """It once was the settings alone, without a seal."""
        is_earlier = isinstance(data, dict) and data.keys() <= MachineConfig.model_fields.keys()
        return {"machine": data} if is_earlier else data


NOTHING = Counted({"weights": 0}, 0)


def settle_labels(
    study: StudyFolder, archs: Iterable[Architecture], device: torch.device
) -> StudyFolder:
    """The study with [machine] as its labels fit into the memory of `device`.

    Raises:
        InputError: they cannot fit; what to change in study.toml is named.
    """
    return _settle(study, tuple(archs), "label", device)


def settle_recovery(study: StudyFolder, arch: Architecture, device: torch.device) -> StudyFolder:
    """The study with [machine] as the long recovery of a design fits.

    Raises:
        InputError: it cannot fit; what to change in study.toml is named.
    """
    return _settle(study, (arch,), "recover", device)


def settle_tuning(study: StudyFolder, device: torch.device) -> StudyFolder:
    """The study with [machine] as a teacher that learns to inpaint fits.

    Raises:
        InputError: it cannot fit; what to change in study.toml is named.
    """
    return _settle(study, (UNPRUNED,), "tune", device)


def describe_work(study: StudyFolder, kind: str, extractor: Counted = NOTHING) -> Work:
    """What a study has to do on a kind of device."""
    config = study.config
    parts = read_parts(config.teacher.pipeline)
    return Work(
        parts=replace(parts, backbone=read_backbone(config)),
        extractor=extractor,
        protocol=config.protocol,
        long=config.export.recovery,
        machine=config.machine,
        device=kind,
    )


def find_room(device: torch.device) -> int:
    """Bytes that networks can have on a device; on the CPU those of the host."""
    return int(USABLE * (device_memory(device) or host_memory()))


def find_largest(archs: Iterable[Architecture], backbone: Backbone) -> tuple[Architecture, ...]:
    """Those that need the most memory: the one of most parameters, and the one of most MACs."""
    trained = [arch for arch in archs if arch != UNPRUNED] or [UNPRUNED]
    heaviest = max(trained, key=lambda arch: count_params(arch, backbone))
    busiest = max(trained, key=lambda arch: count_macs(arch, backbone).total)
    return (heaviest,) if heaviest == busiest else (heaviest, busiest)


def _settle(
    study: StudyFolder,
    archs: tuple[Architecture, ...],
    stage: Trained,
    device: torch.device,
) -> StudyFolder:
    """The found settings are kept in the study: other workers do not count again."""
    config, room = study.config, find_room(device)
    if bound_memory(config) <= room:
        return study
    said = {
        "teacher": config.teacher.pipeline,
        "protocol": config.protocol.model_dump(mode="json"),
        "long": long_recipe(config, stage).model_dump(mode="json"),
        "machine": config.machine.model_dump(mode="json"),
        "archs": sorted(arch.key for arch in archs),
        "room": [stage, device.type, room],
    }
    file = study.root / "plan" / f"{content_key(said)}.json"
    machine = _read_found(file)
    if machine is None:
        machine = _fit_machine(study, archs, stage, device, room)
        write_atomic(file, FoundSettings(machine=machine).to_json(), study.root)
    return replace(study, config=config.model_copy(update={"machine": machine}))


def _read_found(file: Path) -> MachineConfig | None:
    """The settings that were found before; None where they were not, or are damaged."""
    if not file.is_file():
        return None
    try:
        return FoundSettings.model_validate_json(read_json_bytes(file)).machine
    except ValidationError as error:
        say(f"{file} is damaged: {error.errors()[0]['msg']}; it is found again")
        return None


def long_recipe(config: StudyConfig, stage: Stage) -> LongRecovery:
    """How a stage trains for long: the teacher that learns to inpaint, or else a design."""
    return config.teacher.tuning if stage == "tune" else config.export.recovery


def _fit_machine(
    study: StudyFolder,
    archs: tuple[Architecture, ...],
    stage: Trained,
    device: torch.device,
    room: int,
) -> MachineConfig:
    work = describe_work(study, device.type)
    work = replace(work, long=long_recipe(study.config, stage))
    machine = work.machine
    for arch in find_largest(archs, work.parts.backbone):
        if stage != "label":
            found = [fit_recover(arch, work, room)]
        else:
            found = [fit_prepare(work, room), fit_label(arch, work, room)]
        for fitted in found:
            if fitted.peak.total > room:
                raise InputError(_why_not(fitted, arch, work, stage, device))
            machine = _with_cut(machine, fitted)
    return machine


def _with_cut(machine: MachineConfig, fitted: Fitted) -> MachineConfig:
    """[machine] with what "auto" has come to; of several cuts the smaller."""
    cut = fitted.cut
    if cut is None:
        return machine
    before = machine.micro_batch
    size = cut.micro_batch if before == "auto" else min(before, cut.micro_batch)
    checkpoints = cut.checkpointing or machine.gradient_checkpointing is True
    return machine.model_copy(update={"micro_batch": size, "gradient_checkpointing": checkpoints})


def _why_not(
    fitted: Fitted,
    arch: Architecture,
    work: Work,
    stage: Trained,
    device: torch.device,
) -> str:
    whole = device_memory(device) or host_memory()
    proposal = propose_settings(work, arch, stage, whole / 1e9)
    step = (
        f"in study.toml set {'; '.join(proposal.lines)}"
        if proposal.fits
        else "no setting makes it fit: take a machine with more memory, or other settings of "
        "[protocol]"
    )
    largest = sorted(fitted.peak.parts.items(), key=lambda part: -part[1])[:3]
    parts = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in largest)
    return (
        f"{stage} must fit into memory, but {fitted.peak.phase} needs {fitted.peak.total / 1e9:.1f}"
        f" GB ({parts}, ...) and {name_device(device)} has {USABLE * whole / 1e9:.1f} of "
        f"{whole / 1e9:.1f} GB for it: {step}"
    )
