"""Pre-flight of a stock UNet: what it is, what it costs, what is wrong with it, what it works with.

diffusers loads many broken folders silently: a wrong number of heads or norm groups changes
the output and no shape, and a deleted mid block comes back untrained. Each such case is a `Problem`
here, with what was found, what was wanted and the next step.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdsearch.check.compatibility import Requirement, judge_compatibility, minimum_diffusers
from sdsearch.check.config import check_config
from sdsearch.check.pipeline import check_pipeline, note_pickles
from sdsearch.check.problems import Problem
from sdsearch.check.verdict import Verdict
from sdsearch.check.weights import check_weights
from sdsearch.errors import InputError
from sdsearch.model import FrozenModel
from sdsearch.pipelines import SINGLE_FILES, open_pipeline
from sdsearch.space import SPACES, search_space
from sdsearch.unet import (
    PRESETS,
    Backbone,
    find_backbone,
    native_size,
    read_architecture,
    read_unet_config,
    unet_cost,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.pipelines import PipelineFolder
    from sdsearch.unet import Architecture


class Costs(FrozenModel):
    """What a UNet costs at its native size: one call at batch 1, memory also with guidance.

    `latent_size` is the side of the latents at which a member's costs are counted.
    """

    params: int
    weight_bytes_fp32: int
    weight_bytes_fp16: int
    latent_size: int | None = None
    macs_conv_linear: int | None = None
    macs_attention: int | None = None
    activation_bytes_fp32: int | None = None
    activation_bytes_fp32_guided: int | None = None


class CheckReport(FrozenModel):
    """All that a pre-flight found; `problems` empty means that nothing stands against the UNet.

    `notes` are what stands against nothing, but is worth knowing.
    """

    path: str
    backbone: str | None
    spaces: tuple[str, ...]
    member: str | None
    arch_key: str | None
    architecture: str | None
    why_no_member: str | None
    costs: Costs | None
    minimum_diffusers: Requirement
    problems: tuple[Problem, ...]
    compatibility: dict[str, Verdict]
    notes: tuple[Problem, ...] = ()

    def __repr__(self) -> str:
        found = "; ".join(problem.code for problem in self.problems) or "no problems"
        return f"CheckReport({self.path!r}: {found})"

    def __str__(self) -> str:
        return report_text(self)


def check_unet(path: Path | str, against: str | None = None) -> CheckReport:
    """Check a UNet's `config.json`, its folder, or a pipeline: folder, one file, "tiny" or hub id.

    `against` is the teacher it was made from: a preset's name, a folder or a hub id. Without it,
    facts that no tensor shows (heads, norm groups) are compared with the preset of its widths.
    `print` the report to read it.

    >>> import sdsearch
    >>> from sdsearch.assets import asset_path
    >>> found = sdsearch.check_unet(asset_path("worlds/fill-16"), against="tiny")
    >>> found.member, found.problems
    ('teacher', ())

    Raises:
        InputError: there is no readable UNet config, or the teacher cannot be read.
    """
    unet, pipeline = _locate(path)
    config = read_unet_config(unet / "config.json" if unet.is_dir() else unet)
    name, backbone = _reference(config, against)
    problems = check_config(config, backbone, named=against is not None)
    if pipeline is not None:
        problems += check_pipeline(pipeline, config)
    params = None
    if unet.is_dir():
        weights, params = check_weights(unet, config, required=pipeline is not None)
        problems += weights
    else:
        weights, params = check_weights(unet.parent, config, required=False, read=False)
        problems += [] if problems else weights
    arch, why = _member(config, backbone)
    kind = pipeline.index["_class_name"] if pipeline else None
    return CheckReport(
        path=str(path),
        backbone=name,
        spaces=_spaces(arch, backbone),
        member=_name(arch, backbone),
        arch_key=arch.key if arch else None,
        architecture=str(arch) if arch else None,
        why_no_member=why,
        costs=_costs(arch, backbone, params, config),
        minimum_diffusers=minimum_diffusers(config, kind),
        problems=tuple(problems),
        compatibility=judge_compatibility(config, arch, backbone) if params is not None else {},
        notes=tuple(note_pickles(pipeline)) if pipeline is not None else (),
    )


def _locate(path: Path | str) -> tuple[Path, PipelineFolder | None]:
    """The UNet's folder, or its config file given alone, and the pipeline, if it is one."""
    place = Path(path)
    if place.is_file() and place.suffix.lower() not in SINGLE_FILES:
        return place, None
    if (place / "config.json").is_file() and not (place / "model_index.json").is_file():
        return place, None
    if not place.is_dir() or (place / "model_index.json").is_file():
        pipeline = open_pipeline(str(path))
        return pipeline.folder / "unet", pipeline
    raise InputError(
        f"{path} must be a UNet's config.json, a folder with one, or a pipeline folder with "
        "model_index.json, but is none of them"
    )


def _reference(
    config: Mapping[str, Any], against: str | None
) -> tuple[str | None, Backbone | None]:
    """The backbone that the UNet is compared with: the given teacher's, else the nearest preset."""
    channels = config.get("in_channels", 4)
    if against is not None:
        teacher = find_backbone(against)
        # A 9-channel student of a 4-channel teacher is an extension by zeros.
        return against, teacher.model_copy(update={"in_channels": channels})
    widths = config.get("block_out_channels", [320, 640, 1280, 1280])
    context = config.get("cross_attention_dim", 1280)
    for same_widths in (True, False):
        for name, preset in PRESETS.items():
            full = list(preset.block_out_channels[: len(widths)])
            near = widths == full if same_widths else _narrower(widths, full)
            if near and (context, channels) == (preset.cross_attention_dim, preset.in_channels):
                return name, preset
    try:
        return "its own", Backbone.from_config(config)
    except InputError:
        return None, None


def _narrower(widths: list[int], full: list[int]) -> bool:
    return len(widths) == len(full) and all(w <= f for w, f in zip(widths, full, strict=True))


def _member(
    config: Mapping[str, Any], backbone: Backbone | None
) -> tuple[Architecture | None, str | None]:
    if backbone is None:
        return None, "no known backbone has its widths, text width and input channels"
    try:
        return read_architecture(config, backbone), None
    except InputError as error:
        return None, str(error)


def _spaces(arch: Architecture | None, backbone: Backbone | None) -> tuple[str, ...]:
    if arch is None or backbone is None:
        return ()
    named = [name for name in SPACES if name != "tiny" or backbone == PRESETS["tiny"]]
    return tuple(name for name in named if search_space(name, backbone).why_not(arch) is None)


def _name(arch: Architecture | None, backbone: Backbone | None) -> str | None:
    members = search_space("sd14", backbone).members
    return next((name for name, member in members.items() if member == arch), None)


def _costs(
    arch: Architecture | None,
    backbone: Backbone | None,
    params: int | None,
    config: Mapping[str, Any],
) -> Costs | None:
    if arch is not None and backbone is not None:
        size = native_size(config)
        one, guided = (unet_cost(arch, backbone, size, cfg=cfg) for cfg in (False, True))
        return Costs(
            params=one.params,
            weight_bytes_fp32=4 * one.params,
            weight_bytes_fp16=2 * one.params,
            latent_size=size,
            macs_conv_linear=one.macs.conv_linear,
            macs_attention=one.macs.attention,
            activation_bytes_fp32=one.activation_bytes,
            activation_bytes_fp32_guided=guided.activation_bytes,
        )
    if params is None:
        return None
    return Costs(params=params, weight_bytes_fp32=4 * params, weight_bytes_fp16=2 * params)


def report_text(report: CheckReport) -> str:
    """The report in words, for a terminal."""
    lines = [f"{report.path}"]
    if report.architecture is None:
        lines += [f"  no member of a search space: {report.why_no_member}"]
    else:
        name = f"{report.member}, " if report.member else ""
        lines += [
            f"  member of {', '.join(report.spaces) or 'no space'} on {report.backbone}: "
            f"{name}{report.arch_key}",
            f"  {report.architecture}",
        ]
    if report.costs is not None:
        lines += _cost_lines(report.costs)
    need = report.minimum_diffusers
    lines += [f"  diffusers >= {need.version}: {need.feature}"]
    lines += ["works with it?"] if report.compatibility else []
    for what, verdict in report.compatibility.items():
        lines += [f"  {verdict.status:9}{what}: {verdict.why} ({verdict.basis})"]
    count = len(report.problems)
    lines += [f"{count} problem{'s' if count > 1 else ''}:" if count else "no problems"]
    lines += [f"  {problem}" for problem in report.problems]
    return "\n".join([*lines, *(f"note: {note}" for note in report.notes)])


def _cost_lines(costs: Costs) -> list[str]:
    mib = 1 << 20
    lines = [
        f"  {costs.params:,} parameters: {costs.weight_bytes_fp32 / mib:,.1f} MiB in float32, "
        f"{costs.weight_bytes_fp16 / mib:,.1f} MiB in half precision"
    ]
    if costs.macs_conv_linear is None or costs.macs_attention is None:
        return lines
    plain, total = costs.macs_conv_linear, costs.macs_conv_linear + costs.macs_attention
    peak, guided = costs.activation_bytes_fp32 or 0, costs.activation_bytes_fp32_guided or 0
    return [
        *lines,
        f"  {plain / 1e9:.2f} G MACs a call (conv and linear), {total / 1e9:.2f} G with attention, "
        f"at {costs.latent_size} x {costs.latent_size} latents",
        f"  activations peak at {peak / mib:,.1f} MiB in float32, {guided / mib:,.1f} MiB guided",
    ]
