"""A tiny teacher that paints from words learns to inpaint, and is a teacher like any other then."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save

from sdsearch.api.verify import verify_files
from sdsearch.export import export_pipeline, export_teacher
from sdsearch.labels.recovery import LongRecovery, RecoveryLosses
from sdsearch.pipelines import open_pipeline
from sdsearch.study.folder import find_teacher, read_study
from sdsearch.study.requests import TuneRequest
from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.teacher import teacher_identity, teacher_sha256
from sdsearch.weights.notes import write_noted
from sdsearch.weights.writing import METADATA
from sdsearch_eval.bench.bench import prepare_bench
from sdsearch_eval.jobs import tune
from sdsearch_eval.models.teacher import load_teacher, widen_teacher
from sdsearch_eval.recovery.long import CHECKPOINT
from sdsearch_eval.recovery.tutor import Tutor
from sdsearch_eval.sampling.generation import generate
from tests.export.exports import take_snippet
from tests.fakes import make_design, make_study, tiny_member

if TYPE_CHECKING:
    from sdsearch.study.folder import StudyFolder

WORDS = Path(__file__).parents[3] / "assets" / "worlds" / "words-16"
CPU = torch.device("cpu")
TOML = f"""
[teacher]
pipeline = {str(WORDS)!r}
inpaint = true
[teacher.tuning]
steps = 4
batch_size = 3
learning_rate = 1e-3
ema = 0.5
checkpoint_every = 1
picture_every = 4
[protocol]
samples = 4
block_size = 2
steps = 2
threads = 1
feature_size = 32
recovery = {{ steps = 1, batch_size = 2 }}
[machine]
workers = 0
"""


@pytest.fixture(scope="module")
def words() -> Any:
    return load_teacher(open_pipeline(str(WORDS)), CPU)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A study whose teacher has learned, and is exported."""
    study = make_study(tmp_path_factory.mktemp("tuned") / "study", TOML)
    tune.tune_teacher(TuneRequest(study=study.root))
    export_teacher(study)
    return study


def losses_of(study: StudyFolder) -> list[dict[str, float]]:
    log = (study.tuning_dir / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in log.splitlines()]


def weights_of(study: StudyFolder) -> dict[str, torch.Tensor]:
    return dict(load_file(study.tuning_dir / "weights.safetensors"))


def test_before_it_learns_it_says_what_the_net_of_four_channels_says(words: Any) -> None:
    narrow, wide = words.student(UNPRUNED), widen_teacher(words).student(UNPRUNED)
    assert (narrow.config.in_channels, wide.config.in_channels) == (4, 9)
    assert not wide.conv_in.weight[:, 4:].any()
    generator = torch.Generator().manual_seed(0)
    latents, text = torch.randn(2, 4, 16, 16, generator=generator), words.encode_text(["a", "b"])
    times = torch.tensor([100, 800])
    with torch.no_grad():
        said = narrow(latents, times, text).sample
        for scale in (0.0, 3.0):
            seen = scale * torch.randn(2, 5, 16, 16, generator=generator)
            found = wide(torch.cat([latents, seen], 1), times, text).sample
            assert torch.allclose(found, said, atol=1e-5)


def test_it_leaves_weights_log_and_pictures_and_is_done_once(tuned: StudyFolder) -> None:
    folder = tuned.tuning_dir
    rows = losses_of(tuned)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(set(row) == {"step", "loss", "task"} for row in rows)
    assert (folder / "step-000004.png").is_file()
    assert not (folder / CHECKPOINT).exists()
    stamp = (folder / "weights.safetensors").stat().st_mtime_ns
    tune.tune_teacher(TuneRequest(study=tuned.root))
    assert (folder / "weights.safetensors").stat().st_mtime_ns == stamp
    new = weights_of(tuned)["conv_in.weight"][:, 4:]
    assert new.abs().amax(dim=(0, 2, 3)).min() > 0, "every new channel has learned"


def test_a_killed_run_goes_on_and_learns_the_same(
    tuned: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(tmp_path / "study", TOML)
    real = tune.Narrator.tell

    def tell(self: Any, step: int, losses: dict[str, float]) -> None:
        real(self, step, losses)
        if step == 3 and losses:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tune.Narrator, "tell", tell)
        with pytest.raises(KeyboardInterrupt):
            tune.tune_teacher(TuneRequest(study=study.root))
    assert (study.tuning_dir / CHECKPOINT).is_file()
    tune.tune_teacher(TuneRequest(study=study.root))
    assert losses_of(study) == losses_of(tuned)
    again, whole = weights_of(study), weights_of(tuned)
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_the_export_is_a_stock_inpainting_pipeline_that_says_how_it_came_to_be(
    tuned: StudyFolder,
) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    folder = Path(find_teacher(tuned))
    assert folder == tuned.root / "teacher"
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(folder, local_files_only=True)
    meant = weights_of(tuned)
    found = pipeline.unet.state_dict()
    assert pipeline.unet.config.in_channels == 9
    assert all(torch.equal(found[name], meant[name]) for name in meant)
    pipeline.set_progress_bar_config(disable=True)
    image = Image.fromarray(np.full((64, 64, 3), 128, np.uint8))
    mask = Image.fromarray(np.pad(np.full((32, 32), 255, np.uint8), 16))
    painted = pipeline(
        "a lake",
        image=image,
        mask_image=mask,
        height=64,
        width=64,
        strength=1.0,
        num_inference_steps=2,
        guidance_scale=1.0,
    ).images[0]
    assert painted.size == (64, 64)
    card, provenance = (folder / "README.md").read_text(), (folder / "provenance.json").read_text()
    assert "An inpainting model out of `words-16` (tiny)" in card
    assert "license: mit" in card
    assert "4 steps of 3 pictures" in card
    assert "pipeline_tag: image-to-image" in card
    compile(take_snippet(card), "card", "exec")
    assert "whose licence is mit" in (folder / "LICENSE").read_text(), "that folder has no text"
    assert '"zero_channels": 5' in provenance
    for file in folder.rglob("*.json"):
        assert str(WORDS) not in file.read_text()


def test_its_files_are_verified_like_those_of_exports(tuned: StudyFolder, tmp_path: Path) -> None:
    study = read_study(copytree(tuned.root, tmp_path / "study"))
    looked = verify_files(study)
    assert looked.problems == ()
    (study.teacher_dir / "README.md").write_text("another card")
    (problem,) = verify_files(study).problems
    assert (problem.file, problem.problem) == ("teacher/README.md", "not what the export wrote")
    assert "sdsearch tune" in problem.next_step


def test_a_tuned_teacher_is_named_by_its_weights(tuned: StudyFolder, tmp_path: Path) -> None:
    other = make_study(tmp_path / "study", TOML.replace("steps = 4", "steps = 1", 1))
    tune.tune_teacher(TuneRequest(study=other.root))
    export_teacher(other)
    names = {teacher_sha256(open_pipeline(find_teacher(study))) for study in (tuned, other)}
    assert len({*names, teacher_sha256(open_pipeline(str(WORDS)))}) == 3


def test_its_students_see_masks_and_inpaint(tuned: StudyFolder) -> None:
    study = read_study(tuned.root)
    teacher = load_teacher(open_pipeline(find_teacher(study)), CPU)
    bench = prepare_bench(study.config.protocol, 0, teacher, study.features_dir)
    student = teacher.student(tiny_member("bk-small"))
    assert student.config.in_channels == 9
    made = generate(student, teacher, bench.inputs, bench.samples, bench.protocol)
    holes = np.stack([sample.mask for sample in bench.samples]) == 255
    originals = np.stack([sample.image for sample in bench.samples])
    painted = np.stack(made.composited)
    assert np.array_equal(painted[~holes], originals[~holes])
    assert (painted[holes] != originals[holes]).any()


def test_exports_of_its_students_are_stock_inpainting_pipelines(tuned: StudyFolder) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    study, arch = read_study(tuned.root), tiny_member("bk-small")
    teacher = load_teacher(open_pipeline(find_teacher(study)), CPU)
    state = {name: x.contiguous() for name, x in teacher.student(arch).state_dict().items()}
    write_noted(study.recovered_file(arch.key), save(state, metadata=METADATA), "a test")
    design = make_design(arch, "autobuild", 1)
    folder = export_pipeline(design, study, teacher_identity(find_teacher(study)))
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(folder, local_files_only=True)
    assert pipeline.unet.config.in_channels == 9
    inherited = weights_of(study)["conv_in.weight"]
    assert torch.equal(pipeline.unet.conv_in.weight, inherited)
    card = (folder / "README.md").read_text()
    assert "Specialized from `words-16`, which learned to inpaint first, with sdsearch" in card
    assert "import StableDiffusionInpaintPipeline" in card
    assert "license: mit" in card


def test_where_no_loss_asks_the_teacher_its_net_is_not_loaded(
    words: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    monkeypatch.setattr(type(words), "student", lambda self, arch: loaded.append(arch))
    tutor = Tutor(UNPRUNED, words, LongRecovery(losses=RecoveryLosses(output=0, task=1)))
    assert loaded == []
    assert not tutor.is_half
