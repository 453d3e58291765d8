"""Teachers that were distilled to a few steps without guidance, as far as their files say so.

Every sampler here takes many steps, with guidance or without. Such a model would be painted wrongly
by them, without any error, and its students would learn from that. A LoRA that was merged into the
weights leaves no trace in a file: nothing here can see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdsearch.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CLASSES = {
    "LatentConsistency": "a latent consistency model",
    "LCM": "a latent consistency model",
    "TCD": "a trajectory consistency model",
    "Consistency": "a consistency model",
}
"""What a class of a pipeline or scheduler says of a model, by a part of its name."""
_PUBLISHED = {
    "bytedance/hyper-sd": "Hyper-SD",
    "bytedance/sdxl-lightning": "SDXL-Lightning",
    "h1t/tcd-": "a trajectory consistency model",
    "idkiro/sdxs-": "SDXS",
    "latent-consistency/": "a latent consistency model",
    "simianluo/lcm_": "a latent consistency model",
    "stabilityai/sd-turbo": "SD-Turbo",
    "stabilityai/sdxl-turbo": "SDXL-Turbo",
    "xcliu/instaflow": "InstaFlow",
}
"""Models on the hub whose configs are those of others, by how their names begin."""
_WANTED = "that of a model that is sampled in many steps with guidance"


def explain_class(name: object) -> str | None:
    """Why a pipeline's or scheduler's class means a distilled model; None where it does not."""
    return next((_explain(what) for part, what in _CLASSES.items() if part in str(name)), None)


def explain_field(field: str) -> str | None:
    """Why a field of a UNet's config, once it is set, means a distilled model; None of others."""
    if field != "time_cond_proj_dim":
        return None
    return _explain("a latent consistency model, whose guidance is an input")


def find_distilled(
    name: str, index: Mapping[str, Any], unet: Mapping[str, Any]
) -> Iterator[FieldError]:
    """What a pipeline's name, classes and origins say of a distillation.

    What its UNet is made of says more, and is judged with the UNet.

    Args:
        name: what the pipeline is called, such as a hub id.
        index: what model_index.json says.
        unet: the UNet's config.

    Yields:
        An error for each field that says so.
    """
    kind, entry = index.get("_class_name"), index.get("scheduler")
    loaded = entry[-1] if isinstance(entry, list) and entry else entry
    for field, value in (("_class_name", kind), ("scheduler", loaded)):
        if why := explain_class(value):
            yield FieldError(f"model_index.json: {field}", value, _WANTED, why)
    origins = {
        "a pipeline": name,
        "model_index.json: _name_or_path": index.get("_name_or_path"),
        "unet/config.json: _name_or_path": unet.get("_name_or_path"),
    }
    for field, origin in origins.items():
        if what := _published(origin):
            yield FieldError(field, origin, _WANTED, _explain(what))


def _published(origin: object) -> str | None:
    """What a hub id is, or the place of its files in the hub's cache, or a path that ends so."""
    if not isinstance(origin, str):
        return None
    parts = origin.casefold().replace("\\", "/").rstrip("/").split("/")
    cached = [part.replace("--", "/") for part in parts if part.startswith("models--")]
    names = ["/".join(parts[-2:]), *(name.removeprefix("models/") for name in cached)]
    found = (what for begin, what in _PUBLISHED.items() if any(n.startswith(begin) for n in names))
    return next(found, None)


def _explain(what: str) -> str:
    return (
        f"it is {what}, distilled to paint in a few steps without guidance, and would be measured "
        "wrongly by the samplers here; bring the model that it was distilled from, and add the "
        "distillation, such as an LCM-LoRA, to what is exported"
    )
