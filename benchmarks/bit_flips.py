"""One random bit in each file of a finished study: it is named, made again, or changes nothing.

    python -m benchmarks.bit_flips STUDY [--seed 0] > benchmarks/bit_flips.txt

STUDY is copied and stays as it is. First every file is damaged in turn, and all are looked at as
`sdsearch check STUDY --files` does. Then one file of each kind is damaged and read as the stage
reads it that needs it; afterwards every value of the study is what it was, or the stage has stopped
and said why. The exit code is 1 where any flip went unnoticed.

The committed output is of a study of the tiny teacher on 24 photos: 13 labels of 8 samples, a long
recovery of 4 steps on encoded latents, a comparison, a report and one export.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdsearch.api.verify import verify_files
from sdsearch.errors import InputError, WorkError
from sdsearch.export import export_pipeline, find_changed
from sdsearch.export.recovered import find_weights, read_source
from sdsearch.files import check_records, check_sealed, read_sealed
from sdsearch.labels import read_floors, read_recovery_values
from sdsearch.stages import build_study, fit_study, sample_study
from sdsearch.stages.label import mend_floors
from sdsearch.study import is_as_written, name_teacher, read_designs, read_study
from sdsearch.weights import origin_of
from sdsearch_eval.bench import Shards

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from sdsearch.study import StudyFolder

KINDS = {
    "labels/*/*.json": "label",
    "repeats/**/*.json": "label",
    "rows/**/*.safetensors": "rows",
    "repeats/**/*.safetensors": "rows",
    "features/*/*.safetensors": "cache",
    "features/latents-*.bin": "latents",
    "weights/*": "kept weights",
    "floors/*": "floors",
    "stages/*": "record of a stage",
    "ranker/*": "predictor",
    "compare/*": "comparison",
    "pipelines/**/*": "export",
    "plan/*": "settings found",
    "recovered/*/*/values.json": "long recovery",
    "recovered/*/*/weights.*": "long recovery",
    "recovered/*/*/checkpoint.pt": "checkpoint",
    "architectures.jsonl": "sample",
    "designs.json": "designs",
    "scores.json": "scores",
    "protocols.json": "protocols",
    "study.toml": "study.toml",
}
"""Kinds of files by where they lie."""
PICTURE = "picture, page, log or claim"
"""All others, which hold no value that is read again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a flipped bit: how it ended, and what the user is told."""

    kind: str
    file: str
    end: str
    said: str = ""

    @property
    def is_missed(self) -> bool:
        """Whether the bit was neither noticed nor without any effect."""
        return self.end == "MISSED"


@contextlib.contextmanager
def flipped(file: Path, rng: random.Random) -> Iterator[None]:
    """One random bit of a file is another inside."""
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
    file.unlink()  # an export may share it
    file.write_bytes(damaged)
    try:
        yield
    finally:
        if not file.parent.is_dir():
            file.parent.mkdir(parents=True)
        file.unlink(missing_ok=True)
        file.write_bytes(whole)


def flip_each_file(root: Path, rng: random.Random) -> Iterator[Outcome]:
    """Damage every file of a study in turn, and look at all of them."""
    kinds = {file: kind for place, kind in KINDS.items() for file in root.glob(place)}
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        name = file.relative_to(root).as_posix()
        if file.suffix == ".lock" or not file.stat().st_size:
            continue
        kind, known = kinds.get(file, PICTURE), _content(file)
        with flipped(file, rng):
            is_same = known is not None and _content(file) == known
            yield Outcome(kind, name, *_look(root, name, kind, is_same=is_same))


def _look(root: Path, name: str, kind: str, *, is_same: bool) -> tuple[str, str]:
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            problems = verify_files(read_study(root)).problems
    except InputError as error:
        return "refused", str(error)
    named = [f"{one.file}: {one.problem}; {one.next_step}" for one in problems]
    own = [said for said, one in zip(named, problems, strict=True) if one.file == name]
    if named:
        return ("named", own[0]) if own else ("named by another", named[0])
    if is_same:
        return "says the same", ""
    if kind == "study.toml":
        return "read as it says", "the user's own; labels of other settings have other names"
    return ("holds no value", "") if kind == PICTURE else ("MISSED", "")


def _content(file: Path) -> Any:
    """What a file of JSON or TOML says, None where it is something else."""
    with contextlib.suppress(ValueError, InputError):
        if file.name == "study.toml":
            return read_study(file.parent).config
        if file.suffix in (".json", ".jsonl", ".of"):
            return [json.loads(line) for line in [file.read_text()] if line]
    return None


STAGES: dict[tuple[str, str], Callable[[StudyFolder, Path], object]] = {
    ("labels/*/*.json", "fit"): lambda study, _: fit_study(study),
    ("architectures.jsonl", "sample"): lambda study, _: sample_study(study),
    ("architectures.jsonl", "fit"): lambda study, _: fit_study(study),
    ("ranker/ranker.json", "fit"): lambda study, _: build_study(study),
    ("ranker/space.safetensors", "score"): lambda study, _: build_study(study),
    ("scores.json", "score"): lambda study, _: build_study(study),
    ("stages/score.json", "score"): lambda study, _: build_study(study),
    ("designs.json", "build"): lambda study, _: build_study(study),
    ("designs.json", "export"): lambda study, _: read_designs(study),
    ("floors/*.json", "report"): lambda _, file: read_floors(file),
    ("floors/*.json", "label"): lambda study, _: mend_floors(study),
    ("features/*/*.safetensors", "label"): lambda _, file: read_sealed(file),
    ("features/latents-*.bin", "recover"): lambda _, file: check_records(file),
    ("rows/*/*/*/block-*", "label"): lambda _, file: _find_missing(file),
    ("weights/*.safetensors", "compare"): lambda _, file: _must_be_noted(file),
    ("recovered/*/*/weights.safetensors", "export"): lambda study, _: _find_weights(study),
    ("recovered/*/*/values.json", "recover"): lambda _, file: read_recovery_values(file),
    ("recovered/*/*/values.json", "export"): lambda study, _: _read_source(study),
    ("recovered/*/*/checkpoint.pt", "recover"): lambda _, file: check_sealed(file),
    ("compare/comparison.json", "compare"): lambda study, file: _must_be_whole(study, file),
    ("pipelines/*/vae/*.safetensors", "export"): lambda study, _: _export(study),
    ("pipelines/*/design.json", "export"): lambda study, _: _export(study),
}
"""Files by where they lie, the stage that reads them, and how it does."""


def flip_before_each_stage(
    root: Path, rng: random.Random, without: Collection[str] = ()
) -> Iterator[Outcome]:
    """Damage one file of each kind, and have the stage read it, but for stages `without`."""
    before = _values(root)
    for (place, stage), read in STAGES.items():
        files = sorted(root.glob(place))
        if not files or stage in without:
            continue
        name, heard = rng.choice(files).relative_to(root), io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(heard):
            copy = Path(shutil.copytree(root, Path(folder) / "STUDY"))
            with flipped(copy / name, rng):
                try:
                    read(read_study(copy), copy / name)
                except (InputError, WorkError) as error:
                    end, said = "refused", str(error)
                else:
                    said = " ".join(heard.getvalue().split())
                    is_kept = bool(said) and _values(copy) == before
                    end = "made again" if is_kept else "MISSED"
        yield Outcome(stage, name.as_posix(), end, said.replace(str(copy), "STUDY"))


def _values(root: Path) -> Any:
    """What a study says: designs by name with predictions, and labels but for the damaged one."""
    study = read_study(root)
    with contextlib.suppress(InputError):
        designs = [design.model_dump() for design in read_designs(study)]
        labels = {label.key: label.values for label in study.labels.read_all()}
        return designs, labels
    return None


def _exported(study: StudyFolder) -> Any:
    there = [one for one in read_designs(study) if (study.pipelines_dir / one.name).is_dir()]
    return there[0] if there else read_designs(study)[0]


def _find_weights(study: StudyFolder) -> None:
    find_weights(_exported(study).arch_key, study)


def _read_source(study: StudyFolder) -> None:
    read_source(_exported(study), study, name_teacher(study))


def _find_missing(block: Path) -> None:
    Shards(block.parent, int(block.stem.removeprefix("block-")) + 1).missing()


def _must_be_noted(weights: Path) -> None:
    if origin_of(weights) is None:
        raise WorkError(f"{weights} is not as its note says: it is made again")


def _must_be_whole(study: StudyFolder, file: Path) -> None:
    if not is_as_written(study, "compare", file):
        raise WorkError(f"{file} is not what compare wrote: it is painted again")


def _export(study: StudyFolder) -> None:
    folder = export_pipeline(_exported(study), study, name_teacher(study))
    assert not find_changed(folder), "a damaged export is written again"


def main() -> int:
    """Run both halves, print them, and say how many bits went unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "study"
        shutil.copytree(chosen.study, root)
        if problems := verify_files(read_study(root)).problems:
            parser.error(f"the study must be undamaged, but {problems[0]}")
        rng = random.Random(chosen.seed)
        files = list(flip_each_file(root, rng))
        stages = list(flip_before_each_stage(root, rng))
    print(
        f"seed {chosen.seed}: one bit in each of {len(files)} files, looked at by check --files\n"
    )
    for (kind, end), count in sorted(Counter((one.kind, one.end) for one in files).items()):
        print(f"{count:5}  {kind}: {end}")
    print(f"\none bit in a file, which a stage then reads ({len(stages)} cases)\n")
    for one in stages:
        print(f"{one.kind:8} {one.file}\n         {one.end}: {one.said}")
    missed = [one for one in (*files, *stages) if one.is_missed]
    print(f"\n{len(missed)} of {len(files) + len(stages)} bits went unnoticed")
    for one in missed:
        print(f"  {one.kind}: {one.file}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
