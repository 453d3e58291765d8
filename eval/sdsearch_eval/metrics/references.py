"""What painted pictures are compared with as a set: their originals, other photos, statistics."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from sdsearch.errors import InputError
from sdsearch.files import check_file
from sdsearch.labels import FEWEST_TO_EXTRAPOLATE, Measurement
from sdsearch_eval.data import list_images, load_reference_samples, open_picture, square_image
from sdsearch_eval.metrics.distances import (
    Gaussian,
    frechet_at_infinity,
    frechet_distance,
    frechet_to_gaussian,
    jackknife,
    kernel_distance,
)
from sdsearch_eval.metrics.pixels import resize_images, runs_of_one_size
from sdsearch_eval.nets import FEATURES_AT_ONCE, Features, extract_features

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from sdsearch.labels import Protocol
    from sdsearch_eval.data import Sample
    from sdsearch_eval.nets import Extractor

_LARGEST_ARRAY = 1 << 28
"""Bytes of statistics as they are computed with: those of 4096 features have half as many."""


@dataclass(frozen=True, slots=True)
class References:
    """The other side of the distances of one protocol.

    Attributes:
        features: of the pictures, in order; without any rows where there are statistics alone.
        gaussian: the statistics of a file.
        are_paired: whether sample i is painted after picture i.
    """

    features: Features
    gaussian: Gaussian | None = None
    are_paired: bool = True


def references_file(protocol: Protocol) -> Path | None:
    """The file of statistics that a protocol names; None where it names pictures."""
    return Path(protocol.references) if protocol.has_statistics else None


def list_reference_files(protocol: Protocol) -> tuple[Path, ...]:
    """The files that `protocol.references` names, in order; () where they are the dataset's.

    Raises:
        InputError: there is none.
    """
    if protocol.references == "dataset":
        return ()
    file = references_file(protocol)
    if file is not None:
        if not file.is_file():
            raise InputError(
                f"protocol.references must be 'dataset', a folder or an .npz file, but "
                f"{str(file)!r} is no file here"
            )
        return (file,)
    folder = Path(protocol.references)
    if not folder.is_dir():
        raise InputError(
            f"protocol.references must be 'dataset', a folder or an .npz file, but "
            f"{str(folder)!r} is no folder here"
        )
    (manifest,) = list_images([folder])
    if len(manifest.cases) < 2:
        raise InputError(f"references must be 2 pictures or more, but there are ({manifest})")
    return tuple(case.photo for case in manifest.cases)


def read_gaussian(file: Path, width: int) -> Gaussian:
    """The `mu` and `sigma` of a file as pytorch-fid and clean-fid write it.

    Args:
        file: an `.npz` archive.
        width: how many features the protocol's extractor has.

    Raises:
        InputError: it cannot be read, or is of another extractor.
    """
    check_file(file)
    try:
        with zipfile.ZipFile(file) as archive:
            mean, covariance = (_read_array(archive, name) for name in ("mu", "sigma"))
    except Exception as error:  # noqa: BLE001 (damaged archives raise nearly anything)
        raise InputError(
            f"{file} must hold mu and sigma, as pytorch-fid writes them, but: {error}"
        ) from None
    if mean.shape != (width,) or covariance.shape != (width, width):
        raise InputError(
            f"{file} must hold statistics of the protocol's extractor, which has {width} features, "
            f"but has mu of {mean.shape}, sigma of {covariance.shape}; set protocol.extractor to "
            "theirs, or name a folder of pictures"
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise InputError(f"the statistics of {file} must be finite, but some are not")
    return Gaussian(mean, covariance)


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[np.float64]:
    """An array of an archive; one that unpacks to far more than statistics have is not read."""
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > _LARGEST_ARRAY:
        raise ValueError(f"{name} would have {member.file_size:,} bytes")
    with archive.open(member) as stream:
        found = np.lib.format.read_array(stream, allow_pickle=False)
    if found.size * np.dtype(np.float64).itemsize > _LARGEST_ARRAY:
        raise ValueError(f"{name} would have {found.size:,} numbers")
    return np.asarray(found, np.float64)


def extract_references(
    protocol: Protocol, samples: Sequence[Sample], extractor: Extractor
) -> dict[str, Tensor]:
    """The features that painted pictures are compared with, by name, as they are cached.

    `pooled` (m, d), and where holes are filled `map0` and so on in half precision.

    Raises:
        InputError: a picture cannot be read.
    """
    if not protocol.paints_words:
        seen = extract_pictures(extractor, (sample.original for sample in samples), protocol)
        halved = (Features(part.pooled, [level.half() for level in part.maps]) for part in seen)
        features = join_features(halved)
        return {
            "pooled": features.pooled,
            **{f"map{i}": level for i, level in enumerate(features.maps)},
        }
    if references_file(protocol):
        grey = np.full((1, protocol.resolution, protocol.resolution, 3), 127, np.uint8)
        return {"pooled": _pooled(extractor, grey, protocol)[:0]}
    if protocol.references == "dataset":
        own = protocol.prompts == "captions"  # then they are there, once for each variation
        found = samples[:: protocol.variations] if own else load_reference_samples(protocol)
        pictures: Iterable[NDArray[np.uint8]] = (sample.image for sample in found)
    else:
        files = list_reference_files(protocol)
        pictures = (square_image(open_picture(file), protocol.compared_side) for file in files)
    return {"pooled": _pooled(extractor, pictures, protocol)}


def extract_pictures(
    extractor: Extractor, images: Iterable[NDArray[np.uint8]], protocol: Protocol
) -> Iterator[Features]:
    """Features of (H, W, 3) uint8 images in the order and size in which they are compared.

    They come some at a time, neighbours of one size together; sizes may differ.
    """
    left = iter(images)
    while some := list(islice(left, FEATURES_AT_ONCE)):
        for run in runs_of_one_size(some):
            compared = resize_images(np.stack(some[run]), protocol.compared_size)
            stack = torch.from_numpy(compared).permute(0, 3, 1, 2)
            yield extract_features(extractor, stack, protocol.feature_size)


def join_features(parts: Iterable[Features]) -> Features:
    """The features of all parts, in order."""
    pooled, maps = zip(*parts, strict=True)
    return Features(torch.cat(pooled), [torch.cat(level) for level in zip(*maps, strict=True)])


def make_references(protocol: Protocol, cached: dict[str, Tensor]) -> References:
    """The references of a protocol, of the features that `extract_references` gave.

    Raises:
        InputError: a file of statistics is unfit.
    """
    pooled, file = cached["pooled"], references_file(protocol)
    maps = [cached[f"map{i}"] for i in range(len(cached) - 1)]
    return References(
        Features(pooled, maps),
        read_gaussian(file, pooled.shape[1]) if file else None,
        name_references(protocol) == "paired",
    )


def name_references(protocol: Protocol) -> Literal["paired", "pictures", "statistics"]:
    """Whether samples are compared with their own originals, with pictures, or with statistics."""
    if references_file(protocol):
        return "statistics"
    own = protocol.prompts == "captions" and protocol.references == "dataset"
    return "paired" if own and protocol.variations == 1 else "pictures"


def measure_distances(
    pooled: NDArray[np.float64], references: References, protocol: Protocol, seed: int
) -> dict[str, Measurement]:
    """The distances of (n, d) features from the references, by column, with their errors.

    Where references are not paired with samples, errors are those of the samples alone.
    """
    column, gaussian = protocol.column, references.gaussian
    if gaussian is not None:
        return {column("fd"): _alone(lambda some: frechet_to_gaussian(some, gaussian), pooled)}
    others = references.features.pooled.double().numpy()
    found = {}
    if min(len(pooled), len(others)) >= FEWEST_TO_EXTRAPOLATE:
        line = frechet_at_infinity(pooled, others, np.random.default_rng(seed))
        found[column("fd_inf")] = Measurement(value=line.value, se=line.se, n=len(pooled))
    if references.are_paired:
        return {
            **found,
            column("fd"): jackknife(frechet_distance, pooled, others),
            column("kid"): jackknife(kernel_distance, pooled, others),
        }
    return {
        **found,
        column("fd"): _alone(lambda some: frechet_distance(some, others), pooled),
        column("kid"): _alone(lambda some: kernel_distance(some, others, paired=False), pooled),
    }


def _alone(
    statistic: Callable[[NDArray[np.float64]], float], pooled: NDArray[np.float64]
) -> Measurement:
    return jackknife(lambda some, _: statistic(some), pooled, pooled)


def _pooled(
    extractor: Extractor, images: Iterable[NDArray[np.uint8]], protocol: Protocol
) -> Tensor:
    """(n, d) pooled features; of maps, which take far more memory, none is kept."""
    return torch.cat([part.pooled for part in extract_pictures(extractor, images, protocol)])
