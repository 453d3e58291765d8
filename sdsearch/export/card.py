"""What a model card says beside its words: front matter that the hub reads, and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdsearch.files import markdown_templates
from sdsearch.labels import (
    RUNTIME_HEADER,
    Measurement,
    PipelineCost,
    describe_column,
    read_costs,
    read_runtimes,
    runtime_notes,
    runtime_rows,
)
from sdsearch.pipelines import locate_pipeline, read_licence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from huggingface_hub import EvalResult

    from sdsearch.labels import Latency, Protocol, RuntimeTable
    from sdsearch.pipelines import Licence

    Values = Mapping[str, Measurement | Latency | int | float]

DRAWING = "unet.svg"
"""The picture of the student's UNet, in the folder of its export."""
LICENCE = "LICENSE"
THUMBNAILS = "thumbnails"
HERE = 'here = "."'
"""What a card's snippet calls the folder; a push puts the repository's name there."""
_WEIGHTS = "*/*.safetensors"
_HALF = ".fp16."


@dataclass(frozen=True, slots=True)
class Beside:
    """What lies in the folder of an export beside its papers, as far as a card tells of it.

    Attributes:
        costs: those of the export and of its teacher; none before they are measured.
        thumbnails: names of small pictures, relative to the folder.
        sizes: bytes of weights: of the UNet, and of all parts, each in single and half precision.
        single_file: what is said of a single file in the original layout, None where there is none.
        runtimes: those of the export, where they were measured.
    """

    costs: tuple[PipelineCost, ...] = ()
    thumbnails: tuple[str, ...] = ()
    sizes: tuple[int, int, int, int] | None = None
    single_file: Mapping[str, Any] | None = None
    runtimes: RuntimeTable | None = None


NOTHING = Beside()


def read_beside(folder: Path) -> Beside:
    """Look what there is in an export's folder.

    Raises:
        InputError: the measured costs are no such file.
    """
    pictures = sorted(file.name for file in (folder / THUMBNAILS).glob("scene-*.webp"))
    weights = {
        file.relative_to(folder).as_posix(): file.stat().st_size for file in folder.glob(_WEIGHTS)
    }

    def total(part: str, *, half: bool) -> int:
        names = [name for name in weights if name.startswith(part) and (_HALF in name) == half]
        return sum(weights[name] for name in names)

    return Beside(
        costs=read_costs(folder / "costs.json"),
        runtimes=read_runtimes(folder / "runtimes.json"),
        thumbnails=tuple(f"{THUMBNAILS}/{name}" for name in pictures),
        sizes=(
            total("unet/", half=False),
            total("unet/", half=True),
            total("", half=False),
            total("", half=True),
        )
        if weights
        else None,
    )


def front_matter(
    name: str,
    teacher: str,
    licence: Licence,
    *,
    words: bool,
    tags: tuple[str, ...],
    results: list[EvalResult] | None = None,
) -> str:
    """The YAML at the head of a card, as huggingface_hub writes it.

    Args:
        name: of the model that `results` are of.
        teacher: its hub id is the base model; a folder is none, since others do not have it.
        licence: of the weights.
        words: whether it paints from words alone; the hub counts inpainting as image-to-image.
        tags: what it is besides.
        results: what was measured of it.
    """
    from huggingface_hub import ModelCardData

    place = locate_pipeline(teacher)
    base = place if isinstance(place, str) else None
    other = licence.hub_id == "other"
    data = ModelCardData(
        base_model=base,
        license=licence.hub_id,
        license_name=licence.name if other else None,
        license_link=LICENCE if other else None,
        library_name="diffusers",
        pipeline_tag="text-to-image" if words else "image-to-image",
        tags=["stable-diffusion", "text-to-image" if words else "inpainting", *tags, "sdsearch"],
        model_name=name if results else None,
        eval_results=results or None,
    )
    if base:
        data["base_model_relation"] = "finetune"  # what the hub would guess; a student is no other
    return str(data.to_yaml())


def list_results(
    values: Values, protocol: Protocol, dataset: str, key: str, seed: int
) -> list[EvalResult]:
    """What was measured, as the hub's model index holds it.

    Args:
        values: by column.
        protocol: how.
        dataset: what others may call the samples.
        key: the protocol's.
        seed: of the labels.
    """
    from huggingface_hub import EvalResult

    made = protocol.dataset == "scenes"
    setting: dict[str, Any] = {
        "protocol": key,
        "seed": seed,
        "samples": protocol.samples,
        "resolution": protocol.resolution,
        "steps": protocol.steps,
        "guidance": protocol.guidance,
    }
    results = []
    for name, one in sorted(values.items()):
        if isinstance(one, Measurement):
            meaning = describe_column(name)
            error = {} if one.se is None else {"standard_error": one.se}
            better = {} if meaning.better is None else {"better": meaning.better}
            results.append(
                EvalResult(
                    task_type="text-to-image" if protocol.paints_words else "image-to-image",
                    task_name="text-to-image" if protocol.paints_words else "inpainting",
                    dataset_type="scenes" if made else "photos",
                    dataset_name="scenes rendered by sdsearch" if made else dataset,
                    dataset_args=setting,
                    metric_type=name,
                    metric_name=meaning.words,
                    metric_value=one.value,
                    metric_args={**error, **({} if one.n is None else {"n": one.n}), **better},
                )
            )
    return results


def measured_rows(this: Values, teacher: Values) -> list[tuple[str, str, str, str, str]]:
    """What was measured of an export, beside its teacher: column, both values, n, and words."""
    rows = []
    for name, one in sorted(this.items()):
        if isinstance(one, Measurement):
            meaning = describe_column(name)
            words = f"{meaning.words}; {meaning.better} is better" if meaning.better else meaning[0]
            rows.append((name, _tell(one), _tell(teacher.get(name)), str(one.n or "-"), words))
    return rows


def _cost_rows(costs: tuple[PipelineCost, ...]) -> list[tuple[str, str, str, str]]:
    """What was measured of an export and of its teacher: words of both, and the share."""
    unknown = PipelineCost(name="")
    this, teacher = costs if len(costs) == 2 else (unknown, unknown)

    def share(find: Callable[[PipelineCost], float | None]) -> str:
        one, whole = find(this), find(teacher)
        return f"{one / whole:.1%}" if one and whole else "-"

    calls = share(lambda cost: cost.latency_ms.median if cost.latency_ms else None)
    seconds = share(lambda cost: cost.picture.seconds if cost.picture else None)
    peaks = share(lambda cost: cost.picture.peak_bytes if cost.picture else None)
    where = f" ({this.latency_ms.setting})" if this.latency_ms else ""
    device = f" ({this.picture.device})" if this.picture else ""
    return [
        (f"A UNet call{where}", this.call_said, teacher.call_said, calls),
        (f"A whole picture{device}", this.seconds_said, teacher.seconds_said, seconds),
        (f"Memory of a whole picture{device}", this.memory_said, teacher.memory_said, peaks),
    ]


def describe_beside(beside: Beside) -> dict[str, Any]:
    """What a card's template is told of what lies in the folder."""
    costs = beside.costs
    return {
        "drawing": DRAWING,
        "thumbnails": beside.thumbnails,
        "single_file": beside.single_file,
        "sizes": beside.sizes and [describe_size(size) for size in beside.sizes],
        "costs": _cost_rows(costs),
        "runtime_header": RUNTIME_HEADER,
        "runtime_rows": runtime_rows(beside.runtimes) if beside.runtimes else (),
        "runtime_notes": runtime_notes(beside.runtimes) if beside.runtimes else (),
        "setting": costs[0].picture.setting if costs and costs[0].picture else None,
    }


def write_card(template: str, front: str, **facts: object) -> str:
    """The text of a card: its front matter, and a template of this room with its facts."""
    body = markdown_templates("sdsearch.export").get_template(template).render(facts)
    return f"---\n{front}\n---\n{body.rstrip()}\n"


def licence_file(pipeline: str, name: str) -> str:
    """The text of LICENSE: that of a pipeline called `name`, or where it is not there, what to do.

    Raises:
        InputError: a paper of the pipeline cannot be read.
    """
    licence = read_licence(pipeline)
    if licence.text is not None:
        return licence.text
    return (
        f"These weights derive from {name}, whose licence is {licence.name}. Its text did not come "
        "with that model: put it here before you pass the weights on.\n"
    )


def _tell(one: object) -> str:
    if not isinstance(one, Measurement):
        return "-"
    return f"{one.value:.4g}" + ("" if one.se is None else f" ± {one.se:.2g}")


def describe_size(size: int) -> str:
    """Bytes in words.

    >>> describe_size(1_719_000_000), describe_size(6_075_760)
    ('1.72 GB', '6.1 MB')
    """
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def address_card(card: str, repository: str) -> str:
    """A card whose snippet loads from a repository of the hub, in place of its own folder.

    >>> address_card('here = "."  # this folder', "owner/small")
    'here = "owner/small"  # this folder'
    """
    return card.replace(HERE, f'here = "{repository}"', 1)
