"""Integrity is content: a bit that flips in any file of a study is noticed, named or mended."""

from __future__ import annotations

import random

import numpy as np
import pytest
from safetensors.numpy import save
from safetensors.torch import load_file
from safetensors.torch import save as save_torch

from sdsearch.api.verify import verify_files
from sdsearch.cli.main import app
from sdsearch.export.pipeline import export_pipeline
from sdsearch.files import UNSEALED, write_sealed
from sdsearch.stages.sample import sample_study
from sdsearch.study.folder import load_space, read_study
from sdsearch.study.records import record_done
from sdsearch.unet.teacher import teacher_identity
from sdsearch.weights.inherit import inherit_weights
from sdsearch.weights.notes import write_noted
from tests.fakes import (
    fake_teacher,
    make_design,
    make_study,
    measured,
    tiny_member,
    write_designs,
)

ARCH = tiny_member("bk-tiny")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with a file of every kind that is read again later."""
    place = tmp_path_factory.mktemp("bits")
    teacher = fake_teacher(place / "teacher")
    toml = f"[teacher]\npipeline = {str(teacher)!r}\n[space]\nlabels = 3\n"
    made = make_study(place / "study", toml)
    sample_study(made)
    made.labels.write(measured(ARCH, 212.5, 3.0))
    design = make_design(ARCH, "autobuild", 1)
    write_designs(made, [design])
    record_done(made, "build", {}, [made.designs_file])
    tensors = save({"pooled": np.arange(12.0)}, metadata=dict(UNSEALED))
    write_sealed(made.features_dir / "abc" / "reference.safetensors", tensors)
    write_sealed(made.rows_dir(ARCH.key) / "abc" / "block-00000.safetensors", tensors)
    weights = load_file(teacher / "unet" / "diffusion_pytorch_model.safetensors")
    student = inherit_weights(ARCH, load_space(made).backbone, weights)
    write_noted(made.recovered_file(ARCH.key), save_torch(student.state_dict()), "a test")
    export_pipeline(design, made, teacher_identity(str(teacher)))
    return made


def files_of(study):
    return sorted(p for p in study.root.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_a_study_as_it_was_written_has_no_damaged_file(study):
    report = verify_files(study)
    assert report.problems == ()
    assert report.unchecked == 1  # study.toml, which is the user's
    assert report.checked == len(files_of(study)) - 1


@pytest.mark.parametrize("seed", range(4))
def test_one_bit_in_any_file_is_named_with_what_to_do(study, seed):
    rng = random.Random(seed)
    for path in files_of(study):
        if path.name == "study.toml":
            continue
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            report = verify_files(study)
        finally:
            path.write_bytes(whole)
        name = path.relative_to(study.root).as_posix()
        named = {one.file for one in report.problems}
        # An inventory, or a note, that is unreadable stands for its files, as those do for it;
        # weights that a study and an export share are one file with two names.
        stands_for = path.name == "files.json" or path.suffix == ".of" or "unet" in path.parts
        assert named if stands_for else name in named, name
        assert all(one.next_step for one in report.problems)


def test_a_file_that_is_gone_from_an_export_is_named(study, tmp_path):
    file = study.pipelines_dir / "autobuild-1" / "vae" / "config.json"
    text = file.read_bytes()
    file.unlink()
    try:
        (problem,) = verify_files(study).problems
    finally:
        file.write_bytes(text)
    assert problem.file == "pipelines/autobuild-1/vae/config.json"


def test_where_the_teacher_is_gone_all_other_files_are_looked_at(study, tmp_path):
    there = verify_files(study)
    toml = study.root / "study.toml"
    text = toml.read_text()
    toml.write_text("[teacher]\npipeline = '/gone/teacher'\n[space]\nlabels = 3\n")
    try:
        assert verify_files(read_study(study.root)) == there
    finally:
        toml.write_text(text)


def test_the_command_names_what_is_damaged_and_ends_with_2(study, capsys):
    assert run(app, ["check", str(study.root), "--files"]) == 0
    assert "none damaged" in capsys.readouterr().out
    label = next((study.root / "labels").rglob("*.json"))
    text = label.read_text()
    label.write_text(text.replace("212.5", "112.5"))
    try:
        assert run(app, ["check", str(study.root), "--files"]) == 2
    finally:
        label.write_text(text)
    said = capsys.readouterr().out
    assert label.name in said
    assert "sdsearch label" in said


def run(app, arguments):
    with pytest.raises(SystemExit) as ended:
        app(arguments)
    return ended.value.code or 0
