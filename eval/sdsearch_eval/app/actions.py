"""What the app does when a button is pressed, without its pages: paint, design, export."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sdsearch.errors import InputError
from sdsearch.export import export_pipeline, list_own_files, record_files, renew_card
from sdsearch.space import Budget
from sdsearch.stages import build_within
from sdsearch.study import find_teacher
from sdsearch_eval.app.uploads import LARGEST_UPLOAD
from sdsearch_eval.bench import Stopwatch, has_recovered, write_recovered
from sdsearch_eval.data import (
    Frame,
    MaskReading,
    check_size,
    paint_prompts,
    take_picture,
)
from sdsearch_eval.jobs import only_run, open_bench, open_console
from sdsearch_eval.pictures import (
    Pipeline,
    draw_thumbnails,
    load_pipeline,
    measure_exports,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sdsearch.design import Design
    from sdsearch.study import StudyFolder
    from sdsearch_eval.data import Sample
    from sdsearch_eval.world import World

TEACHER = "teacher"
MOST_SEEDS = 8


@dataclass(slots=True)
class Studio:
    """A study at work: its pipelines, loaded when they are first asked for."""

    study: StudyFolder
    world: World
    loaded: dict[str, Pipeline] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The teacher, then every exported design."""
        folder = self.study.pipelines_dir
        found = sorted(folder.glob("*/model_index.json")) if folder.is_dir() else []
        return [TEACHER, *(file.parent.name for file in found)]

    def pipeline(self, name: str) -> Pipeline:
        """The pipeline of a listed name; any other name, a path say, is refused."""
        if name not in self.names:
            raise InputError(f"a pipeline must be one of {', '.join(self.names)}, but is {name!r}")
        if name not in self.loaded:
            where = find_teacher(self.study)
            if name != TEACHER:
                where = str(self.study.pipelines_dir / name)
            self.loaded[name] = load_pipeline(where, self.world.device)
        return self.loaded[name]

    def paint(
        self,
        names: Sequence[str],
        image: Image.Image | None,
        hole: NDArray[np.uint8] | None,
        prompt: str,
        *,
        steps: int,
        guidance: float,
        seed: int,
    ) -> list[tuple[Image.Image, str]]:
        """One image a pipeline with its name, size and time; all see the same noise.

        It is the square that the study's photos are cropped to, or where the surroundings of holes
        are painted the whole upload.

        Raises:
            InputError: something is missing or unfit, in words for the person at the page.
        """
        self._check(names)
        painted = []
        for name in names:
            frame = replace(Frame.of(self.study.config.protocol), size=self.pipeline(name).size)
            task = read_upload(image, hole, prompt, frame)
            picture, said = self._paint(name, task, seed, steps=steps, guidance=guidance)
            if task.cutout is not None and image is not None:
                photo = frame.see(take_picture(image, "upload"))
                picture = task.cutout.put_back(picture, photo)
            painted.append((Image.fromarray(picture), said))
        return painted

    def paint_words(
        self,
        names: Sequence[str],
        prompt: str,
        seeds: Sequence[int],
        *,
        steps: int,
        guidance: float,
    ) -> list[tuple[Image.Image, str]]:
        """One image a seed and pipeline, seed by seed, each with its name, size and time.

        Raises:
            InputError: there is no prompt, or no pipeline.
        """
        self._check(names)
        if not prompt.strip():
            raise InputError("write what the image is to show")
        painted = []
        for seed in seeds:
            for name in names:
                (task,) = paint_prompts([prompt], self.pipeline(name).size)
                picture, said = self._paint(name, task, seed, steps=steps, guidance=guidance)
                painted.append((Image.fromarray(picture), f"seed {seed}, {said}"))
        return painted

    def _check(self, names: Sequence[str]) -> None:
        if not names:
            raise InputError("choose at least one pipeline")

    def _paint(
        self, name: str, task: Sample, seed: int, *, steps: int, guidance: float
    ) -> tuple[NDArray[np.uint8], str]:
        pipeline = self.pipeline(name)
        wanted = {"resolution": pipeline.size, "steps": steps, "guidance": guidance}
        protocol = self.study.config.protocol.model_copy(update=wanted)
        start = time.perf_counter()
        made = pipeline.paint([task], protocol, seed)
        seconds = time.perf_counter() - start
        latency = pipeline.time_call(task, seed)
        said = (
            f"{name}: {pipeline.params / 1e6:.2f} M parameters, {latency.median:.0f} ms a UNet "
            f"call, {seconds:.2f} s the whole image"
        )
        return made.composited[0], said

    def design(self, params_share: float, latency_ms: float | None) -> Design:
        """The best design under the sliders' budget."""
        asked: dict[str, Any] = {"params": {"share": params_share}}
        if latency_ms is not None:
            asked["latency_ms"] = latency_ms
        return build_within(self.study, Budget.model_validate(asked))

    def export(self, design: Design) -> Path:
        """Recover and export a design, and pack it: STUDY/app/<name>.zip.

        Raises:
            InputError: another run is at work on the study.
            WorkError: the export failed a check.
        """
        study, world = self.study, self.world
        weights = study.recovered_file(design.arch_key)
        with only_run(study, world):
            bench = open_bench(study, open_console(world), world)
            if not has_recovered(design.architecture, weights, bench):
                write_recovered(design.architecture, bench, weights, Stopwatch())
        folder = export_pipeline(design, study, bench.teacher.sha256)
        if not (folder / "thumbnails").is_dir():
            draw_thumbnails(study, [folder.name], world.device)
        if not (folder / "costs.json").is_file():
            measure_exports(study, [folder.name], world.device)
        record_files(folder, [*list_own_files(folder / "thumbnails"), folder / "costs.json"])
        renew_card(design, study, bench.teacher.sha256)
        place = study.root / "app"
        place.mkdir(exist_ok=True)
        packed = shutil.make_archive(str(place / folder.name), "zip", folder.parent, folder.name)
        return place / packed


def read_seeds(said: str) -> list[int]:
    """The numbers of a text, apart by spaces or commas.

    Raises:
        InputError: there is none, one cannot be a seed, or there are too many.
    """
    words = said.replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise InputError(f"seeds must be numbers such as 0 1 2, but are {said[:80]!r}")
    if len(words) > MOST_SEEDS:
        raise InputError(f"at most {MOST_SEEDS} seeds are painted, but {len(words)} are asked for")
    seeds = [int(word) for word in words]
    if max(seeds) >= 2**32:
        raise InputError(f"a seed must be below {2**32}, but one is {max(seeds)}")
    return seeds


def read_upload(
    image: Image.Image | None, hole: NDArray[np.uint8] | None, prompt: str, frame: Frame
) -> Sample:
    """An image and a brushed mask as a task; `hole` is (H, W), above 0 where brushed.

    Raises:
        InputError: there is no image or no brush stroke, the image is too large, or nearly all of
            it is covered.
    """
    if image is None:
        raise InputError("upload an image, or choose one of the examples")
    check_size(image, LARGEST_UPLOAD, "this one")
    if hole is None or not (hole > 0).any():
        raise InputError("brush over what is to be repainted first: there is no brush stroke yet")
    photo = take_picture(image, "upload")
    width, height = photo.image.size
    if hole.shape != (height, width):
        raise InputError(
            f"the brushed mask must be as large as the image, {width} x {height}, but is "
            f"{hole.shape[1]} x {hole.shape[0]}; load the image again"
        )
    brushed = take_picture(Image.fromarray(((hole > 0) * 255).astype(np.uint8)), "brushed")
    # Strokes are painted on the image as it is shown, so they are turned as it is.
    mask = frame.read_mask(photo, replace(brushed, turn=photo.turn), MaskReading())
    return frame.cut("upload", frame.see(photo), prompt, mask)
