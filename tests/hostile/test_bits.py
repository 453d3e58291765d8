"""Integrity is content: a bit that flips in any file of a study is noticed, named or mended."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.numpy import save
from safetensors.torch import load_file
from safetensors.torch import save as save_torch

from benchmarks.bit_flips import flip_before_each_stage, flip_each_file
from sdsearch import keys
from sdsearch.api.verify import verify_files
from sdsearch.cli.main import app
from sdsearch.design.designs import DesignFile
from sdsearch.errors import InputError
from sdsearch.export.pipeline import export_pipeline
from sdsearch.files import (
    RECORDS_DONE,
    SEAL_BYTES,
    UNSEALED,
    describe_records,
    seal_of_record,
    write_atomic,
    write_sealed,
    writing_sealed,
)
from sdsearch.labels.content import ResolvedProtocol
from sdsearch.labels.label import Floors, Measurement
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.recovery import RecoveryValues
from sdsearch.space.budget import Budget
from sdsearch.stages.label import mend_floors
from sdsearch.stages.sample import sample_study
from sdsearch.study.folder import (
    drop_damaged_protocols,
    load_space,
    name_teacher,
    read_study,
    write_protocols,
)
from sdsearch.study.listing import read_sample
from sdsearch.study.records import record_done
from sdsearch.unet.teacher import teacher_identity
from sdsearch.weights.inherit import inherit_weights
from sdsearch.weights.notes import write_noted
from sdsearch.workers.job import open_claims
from sdsearch.workers.worker import needs_finish
from tests.fakes import (
    fake_teacher,
    make_design,
    make_study,
    measured,
    tiny_member,
    write_designs,
)

ARCH = tiny_member("bk-tiny")
FLOORS = Floors(of="a bench", rows={"teacher reseeded": {"fd": Measurement(value=3.5, se=0.1)}})
VALUES = RecoveryValues(of="a course", after={"fd": Measurement(value=69.13, se=1e-05, n=192)})


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
    built = DesignFile.model_validate_json(made.designs_file.read_bytes())
    write_atomic(made.designs_file, built.to_json())
    record_done(made, "build", {}, [made.designs_file])
    tensors = save({"pooled": np.arange(12.0)}, metadata=dict(UNSEALED))
    write_sealed(made.features_dir / "abc" / "reference.safetensors", tensors, made.root)
    write_sealed(made.rows_dir(ARCH.key) / "abc" / "block-00000.safetensors", tensors, made.root)
    weights = load_file(teacher / "unet" / "diffusion_pytorch_model.safetensors")
    student = inherit_weights(ARCH, load_space(made).backbone, weights)
    made.make(made.finetuned_dir(ARCH.key))
    write_noted(made.recovered_file(ARCH.key), save_torch(student.state_dict()), "a test")
    export_pipeline(design, made, teacher_identity(str(teacher)))
    for sealed, file in (
        (FLOORS, made.floors_file),
        (VALUES, made.finetuned_dir(ARCH.key) / "values.json"),
        (Floors(of="of settings", rows={}), made.root / "plan" / "0123.json"),
    ):
        write_atomic(file, sealed.to_json(), made.root)
    write_protocols(made, [ResolvedProtocol(protocol=Protocol())])
    with writing_sealed(made.finetuned_dir(ARCH.key) / "checkpoint.pt") as stream:
        stream.write(b"weights and steps")
    payload = b"a latent"
    record = payload + seal_of_record(payload + b"-" * SEAL_BYTES)
    latents = record * 9 + bytes([RECORDS_DONE, RECORDS_DONE]) + describe_records(len(record))
    write_atomic(made.features_dir / "latents-abc.bin", latents)
    return made


def files_of(study):
    return sorted(p for p in study.root.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_a_study_as_it_was_written_has_no_damaged_file(study):
    report = verify_files(study)
    assert report.problems == ()
    assert report.unchecked == 1  # study.toml, which is the user's
    assert report.checked == len(files_of(study)) - 1


def test_a_latency_table_is_looked_at_wherever_it_lies(tmp_path):
    table = tmp_path / "table[1].json"
    table.write_text("{}", encoding="utf-8")
    made = make_study(tmp_path / "study", f"[build]\nlatency_table = {str(table)!r}\n")
    assert [one.file for one in verify_files(made).problems] == [table.as_posix()]
    assert verify_files(made).unchecked == 1  # study.toml


def test_settings_without_a_seal_are_of_before_there_were_any(tmp_path):
    made = make_study(tmp_path / "study")
    for name, said in (("a", '{"micro_batch": 4}'), ("b", '{"machime": {}, "seal": "0123"}')):
        write_atomic(made.root / "plan" / f"{name}.json", said, made.root)
    assert [one.file for one in verify_files(made).problems] == ["plan/b.json"]


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes in a file's place")
def test_pipes_among_the_files_of_a_study_are_named_and_not_opened(tmp_path):
    made = make_study(tmp_path / "study")
    weights = made.recovered_file(ARCH.key)
    write_noted(made.make(weights.parent) / weights.name, b"weights", "a test")
    weights.unlink()
    checkpoint = made.finetuned_dir(ARCH.key) / "checkpoint.pt"
    pipes = {
        weights,
        made.features_dir / "abc.safetensors",
        made.make(made.features_dir) / "latents-abc.bin",
        made.make(checkpoint.parent) / checkpoint.name,
    }
    for pipe in pipes:
        os.mkfifo(pipe)
    assert {made.root / one.file for one in verify_files(made).problems} == pipes


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


SEALED = (
    FLOORS,
    VALUES,
    measured(ARCH, 212.5, 3.0),
    DesignFile(
        protocol_key="abc",
        target="-fd",
        budget=Budget(),
        designs=(make_design(ARCH, "autobuild", 1),),
    ),
)


@given(value=st.sampled_from(SEALED), at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_bit_of_a_sealed_value_is_noticed_or_says_the_same(value, at, bit):
    flipped = bytearray(value.to_json().encode())
    flipped[int(at * len(flipped))] ^= 1 << bit
    try:
        read = type(value).model_validate_json(flipped)
    except ValidationError:
        return
    assert read == value  # 1E-05 says what 1e-05 does


@pytest.mark.parametrize("lines", [0, 1, 5])
def test_a_sample_that_was_cut_is_noticed_and_drawn_again(study, lines, capsys):
    whole = study.architectures_file.read_bytes()
    study.architectures_file.write_bytes(b"".join(whole.splitlines(keepends=True)[:lines]))
    try:
        with pytest.raises(InputError, match="sdsearch sample"):
            read_sample(study)
        sample_study(study)
        assert study.architectures_file.read_bytes() == whole
        assert capsys.readouterr().err.count("drawn again") == 1
    finally:
        study.architectures_file.write_bytes(whole)


def test_damaged_floors_are_measured_again_when_labels_are_next_asked_for(tmp_path, capsys):
    made = make_study(tmp_path / "study")
    write_atomic(made.floors_file, FLOORS.to_json().replace("3.5", "1.5"), made.root)
    assert not needs_finish(open_claims(made), [ARCH.key])
    mend_floors(made)
    assert "and they are measured" in capsys.readouterr().err
    assert needs_finish(open_claims(made), [ARCH.key])
    mend_floors(made)
    assert capsys.readouterr().err == ""


def test_damaged_protocols_count_as_unread_with_one_warning(study, capsys):
    file = study.root / "protocols.json"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"192", b"193"))
    try:
        assert read_study(study.root).read_protocols == ()
        drop_damaged_protocols(study)
        assert read_study(study.root).read_protocols == ()
    finally:
        file.write_bytes(whole)
    assert capsys.readouterr().err.count("made again from the dataset") == 1
    assert read_study(study.root).read_protocols


def test_a_teacher_is_hashed_once_for_as_long_as_it_stays(study, monkeypatch):
    read = []
    monkeypatch.setattr(keys, "file_sha256", lambda path: read.append(path.name) or "0" * 64)
    fresh = read_study(study.root)
    first = name_teacher(fresh)
    count = len(read)
    assert (name_teacher(fresh), len(read)) == (first, count)
    assert count > 3
    changed = next(Path(fresh.config.teacher.pipeline).rglob("*.safetensors"))
    os.utime(changed)
    name_teacher(fresh)
    assert read[count:] == [changed.name]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_slice_of_the_campaign_finds_no_bit_that_goes_unnoticed(study, tmp_path, seed):
    root, rng = tmp_path / "study", random.Random(seed)
    shutil.copytree(study.root, root)
    found = [*flip_each_file(root, rng)]
    found += flip_before_each_stage(root, rng, without=("fit", "score", "build"))
    assert len(found) > 40
    assert [one for one in found if one.is_missed] == []
    assert {"named", "made again", "refused"} <= {one.end for one in found}


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
