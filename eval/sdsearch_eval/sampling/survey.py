"""Fill in a latency survey: whole UNet calls, member by member, in interleaved rounds."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch

from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.space import LatencySurvey, SurveyedMember, read_survey
from sdsearch.weights import make_unet
from sdsearch_eval.devices import memory_format, name_device, synchronize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.space import LatencyConditions

WARM_UP = 2


def fill_survey(path: Path, progress: Callable[[int, int], None] | None = None) -> LatencySurvey:
    """Time every member that lacks a round and write the file after each; a killed run resumes.

    Rounds go over all members before the next begins, so that a drift of the machine meets all
    alike. Weights are random: they change no time. Conditions that the file names are set, and
    hardware or versions other than those of earlier rounds are refused.

    Raises:
        InputError: the device does not exist, or the earlier rounds are of another machine.
    """
    survey = read_survey(path)
    conditions = survey.conditions
    device = _device(conditions.device)
    torch.set_num_threads(conditions.threads)
    survey = _signed(survey, name_device(device))
    done = sum(len(member.milliseconds) for member in survey.members)
    total = len(survey.members) * conditions.rounds
    for round_number in range(conditions.rounds):
        for number, member in enumerate(survey.members):
            if len(member.milliseconds) > round_number:
                continue
            unet = _random_unet(member, survey, device)
            timed = _time_calls(unet, _inputs(survey, device), conditions.runs)
            survey = _with_round(survey, number, timed)
            write_atomic(path, survey.to_json())
            done += 1
            if progress is not None:
                progress(done, total)
    return survey


def _signed(survey: LatencySurvey, hardware: str) -> LatencySurvey:
    versions = {package: version(package) for package in ("torch", "diffusers")}
    begun = any(member.milliseconds for member in survey.members)
    if begun and (survey.hardware, survey.versions) != (hardware, versions):
        raise InputError(
            f"all rounds must be of one machine and its versions, but the survey has "
            f"{survey.hardware} {survey.versions} and this is {hardware} {versions}; begin anew"
        )
    return survey.model_copy(update={"hardware": hardware, "versions": versions})


def _with_round(
    survey: LatencySurvey, number: int, milliseconds: tuple[float, ...]
) -> LatencySurvey:
    members = list(survey.members)
    done = members[number].milliseconds
    members[number] = SurveyedMember(
        architecture=members[number].architecture, milliseconds=(*done, milliseconds)
    )
    return survey.model_copy(update={"members": tuple(members)})


def _random_unet(
    member: SurveyedMember, survey: LatencySurvey, device: torch.device
) -> UNet2DConditionModel:
    unet = make_unet(member.architecture, survey.backbone)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.normal_(0.0, 0.02, generator=generator)
    dtype = getattr(torch, survey.conditions.dtype)
    placed: UNet2DConditionModel = unet.to(device, dtype, memory_format=memory_format(device))
    return placed.requires_grad_(False)


def _inputs(survey: LatencySurvey, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    conditions: LatencyConditions = survey.conditions
    batch = conditions.batch * (2 if conditions.cfg else 1)
    generator = torch.Generator().manual_seed(1)
    dtype = getattr(torch, conditions.dtype)
    shape = (batch, survey.backbone.in_channels, *conditions.latent)
    latent = torch.randn(shape, generator=generator).to(device, dtype)
    text = torch.randn(batch, 77, survey.backbone.cross_attention_dim, generator=generator)
    latent = latent.contiguous(memory_format=memory_format(device))
    return latent, torch.tensor(500, device=device), text.to(device, dtype)


@torch.no_grad()
def _time_calls(
    unet: UNet2DConditionModel, inputs: tuple[Tensor, Tensor, Tensor], runs: int
) -> tuple[float, ...]:
    device = inputs[0].device
    durations = []
    for _ in range(WARM_UP + runs):
        synchronize(device)
        start = time.perf_counter()
        unet(*inputs, return_dict=False)
        synchronize(device)
        durations.append((time.perf_counter() - start) * 1e3)
    return tuple(durations[WARM_UP:])


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device must be one that torch has here, but {name!r}: {reason}"
        ) from None
    return device
