"""The teachers that are compared on, each with the one protocol of its labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdsearch import create_study
from sdsearch.labels import read_label_table
from sdsearch.pipelines import open_pipeline
from sdsearch.replay import UNIFORM
from sdsearch.space import search_space
from sdsearch.study import Listing, Origin, find_teacher, read_study, write_sample
from sdsearch.unet import teacher_sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture

HOME = Path(__file__).resolve().parents[2]
TABLES = HOME / "assets/worlds/labels"
SPACE = "tiny"
SEEDED = 16
"""Of them, the first so many are labelled under all of `SEEDS`."""
SEEDS = (0, 1, 2)
STRATIFIED = 12
"""Members that are recovered shortly and long, to see whether the short order is the long one."""


@dataclass(frozen=True)
class World:
    """A teacher with its protocol.

    Attributes:
        name: of its tables.
        teacher: what a study calls it.
        endpoint: the column of the primary comparison, lower is better.
        protocol: all that a study of it says there.
        steps, long: recovery steps of its labels, and of a few long ones.
    """

    name: str
    teacher: str
    endpoint: str
    protocol: dict[str, Any] = field(default_factory=dict)
    steps: int = 30
    long: int = 240

    def study(self, folder: Path, steps: int | None = None) -> StudyFolder:
        """The study of this world below a folder, made where it is missing.

        `steps` is of the recovery; by default as many as the labels of the comparison get.
        """
        variant = self.name if steps is None else f"{self.name}-{steps}"
        protocol = (
            self.protocol if steps is None else self.protocol | {"recovery": {"steps": steps}}
        )
        study = create_study(
            folder / variant,
            teacher=self.teacher,
            images="scenes",
            space={"name": SPACE, "labels": UNIFORM},
            protocol=protocol,
        )
        return read_study(study.path)


def _words(name: str) -> World:
    protocol = {"task": "text-to-image", "samples": 96, "guidance": 2.0, "threads": 1}
    return World(name, str(HOME / "assets/worlds" / name), "fd_efflite0", protocol)


WORLDS = {
    world.name: world
    for world in (
        World(
            "fill-16",
            str(HOME / "assets/worlds/fill-16"),
            "lpips_like_efflite0",
            {"samples": 96, "masks": "thick", "guidance": 2.0, "threads": 1},
        ),
        _words("words-16"),
        _words("words-16-b"),
    )
}
"""The three of the comparison."""


def draw_members() -> list[Architecture]:
    """The uniform members of every world, in order: each 32 of them are one draw."""
    import numpy as np

    return search_space(SPACE).sample(UNIFORM, np.random.default_rng(0))


def draw_stratified() -> list[Architecture]:
    """The members that are recovered shortly and long."""
    import numpy as np

    return search_space(SPACE).sample_stratified(STRATIFIED, np.random.default_rng(1))


def list_members(study: StudyFolder, architectures: Iterable[Architecture]) -> None:
    """Have a study know architectures beside those that it knows."""
    from sdsearch.study import read_sample

    known = list(read_sample(study).pairs()) if study.architectures_file.is_file() else []
    origin = Origin(kind="sample", name="uniform")
    write_sample(study, Listing.of([*known, *((arch, origin) for arch in architectures)]))


def import_tables(study: StudyFolder, tables: Sequence[Path]) -> int:
    """Give a study the committed labels of its protocol and teacher; how many there were."""
    teacher = teacher_sha256(open_pipeline(find_teacher(study)))
    found = [
        label
        for table in tables
        if table.is_file()
        for label in read_label_table(table)
        if label.protocol_key == study.protocol_key
        and label.provenance["teacher_sha256"] == teacher
    ]
    return sum(study.labels.publish(label) for label in found)
