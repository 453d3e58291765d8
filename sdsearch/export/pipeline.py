"""Export: a design and its recovered weights become a stock diffusers inpainting pipeline."""

from __future__ import annotations

import json
import shutil
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sdsearch.errors import InputError, WorkError
from sdsearch.export.papers import write_papers
from sdsearch.export.recovered import read_source, recovered_weights
from sdsearch.keys import file_sha256
from sdsearch.pipelines import open_pipeline, read_part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from diffusers import StableDiffusionInpaintPipeline, UNet2DConditionModel

    from sdsearch.design import Design
    from sdsearch.export.recovered import ExportSource
    from sdsearch.pipelines import PipelineFolder
    from sdsearch.study import StudyFolder

_OPTIONAL = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts of an inpainting pipeline without which it paints the same."""


def export_pipeline(design: Design, study: StudyFolder, teacher: str) -> Path:
    """Write STUDY/pipelines/<design name>: loads with `from_pretrained`, needs no sdsearch.

    Holds the teacher's other components and the recovered student in fp32 and fp16 safetensors, a
    model card, design.json and provenance.json. Weights and values are those of the long recovery
    where it has ended, else those of the label. The folder is written beside, read back and
    compared, and only then given its name; one that is complete and current stays.

    Args:
        design: what is exported.
        study: where from, and where to.
        teacher: the teacher's identity by content, as `teacher_identity` gives it.

    Raises `InputError` for a teacher that cannot be read and `WorkError` for a failed check.
    """
    final = study.pipelines_dir / design.name
    source = read_source(design, study, teacher)
    if _recorded_inputs(final) == source.key:
        return final
    weights = recovered_weights(source)
    _remove_leftovers(final)
    folder = final.with_name(f".{final.name}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        with _quiet_libraries():
            pipeline = _assemble(source, weights)
            pipeline.save_pretrained(folder, safe_serialization=True)
            _check(folder, pipeline.unet)
            _add_half_precision(pipeline, folder)
        write_papers(folder, source, file_sha256(weights))
        _give_name(folder, final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return final


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Hold back the libraries' own progress bars, several for each file of half a second."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    shown = of_diffusers.is_progress_bar_enabled(), of_transformers.is_progress_bar_enabled()
    of_diffusers.disable_progress_bar()
    of_transformers.disable_progress_bar()
    try:
        yield
    finally:
        for library, was_shown in zip((of_diffusers, of_transformers), shown, strict=True):
            if was_shown:
                library.enable_progress_bar()


def _recorded_inputs(folder: Path) -> str | None:
    try:
        found = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    recorded = found.get("inputs")
    return recorded if isinstance(recorded, str) else None


def _assemble(source: ExportSource, weights: Path) -> StableDiffusionInpaintPipeline:
    import torch
    from diffusers import StableDiffusionInpaintPipeline

    from sdsearch.weights import load_part, load_unet

    student = load_unet(source.design.architecture, source.backbone, weights)
    teacher = open_pipeline(source.study.config.teacher.pipeline)
    parts = {
        name: load_part(read_part(teacher, name)) for name in ("vae", "text_encoder", "tokenizer")
    }
    try:
        pipeline: StableDiffusionInpaintPipeline = StableDiffusionInpaintPipeline.from_pretrained(
            teacher.folder,
            unet=student,
            dtype=torch.float32,
            local_files_only=True,
            **parts,
            **_absent_parts(teacher),
        )
    except (OSError, ValueError) as error:
        raise InputError(f"the teacher {teacher.name} cannot be loaded: {error}") from None
    return pipeline


def _absent_parts(teacher: PipelineFolder) -> dict[str, Any]:
    """The optional parts as none of them, where one that the teacher lists is not there."""
    listed = [name for name in _OPTIONAL if teacher.index.get(name) not in (None, [None, None])]
    if all((teacher.folder / name).is_dir() for name in listed):
        return {}
    return {**dict.fromkeys(_OPTIONAL), "requires_safety_checker": False}


def _check(folder: Path, student: UNet2DConditionModel) -> None:
    """Read the folder back and compare configuration and every tensor with what was meant."""
    import torch
    from diffusers import StableDiffusionInpaintPipeline

    pipeline = StableDiffusionInpaintPipeline.from_pretrained(folder, local_files_only=True)
    found, meant = pipeline.unet.state_dict(), student.state_dict()
    if found.keys() != meant.keys():
        raise WorkError(f"the export reads back with other tensors: {found.keys() ^ meant.keys()}")
    changed = [name for name in meant if not torch.equal(found[name], meant[name])]
    if changed:
        raise WorkError(f"the export reads back with changed tensors: {changed[:3]}")
    if _public(pipeline.unet.config) != _public(student.config):
        raise WorkError("the export reads back with another UNet configuration")


def _add_half_precision(pipeline: StableDiffusionInpaintPipeline, folder: Path) -> None:
    """Write the variant `fp16` beside the weights; the pipeline is in half precision after."""
    import torch

    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        # `ModelMixin.to` warns about modules to be kept in float32 even where there are none.
        torch.nn.Module.to(part, torch.float16)
    for name, tensor in pipeline.unet.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise WorkError(f"weights must fit into half precision, but {name} overflows")
    half = folder / "half"
    pipeline.save_pretrained(half, safe_serialization=True, variant="fp16")
    # The weights alone: a config that says float16 would have the others loaded in it.
    for file in half.glob("*/*.fp16.*"):
        file.rename(folder / file.relative_to(half))
    shutil.rmtree(half)


def _public(config: Any) -> dict[str, Any]:
    """Drop what diffusers adds about itself and compare tuples as the lists that JSON has."""
    kept = {name: value for name, value in dict(config).items() if not name.startswith("_")}
    plain: dict[str, Any] = json.loads(json.dumps(kept))
    return plain


def _remove_leftovers(final: Path) -> None:
    """Remove what a killed export of the same name left behind."""
    for leftover in final.parent.glob(f".{final.name}-*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _give_name(folder: Path, final: Path) -> None:
    """Rename a complete folder; an outdated one is moved out of the way first."""
    if final.exists():
        old = final.with_name(f".{final.name}-old-{uuid.uuid4().hex[:8]}.tmp")
        final.rename(old)
        folder.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    else:
        folder.rename(final)
