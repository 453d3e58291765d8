"""Every job on a pretended GPU: what is not moved there, or not fetched from it, fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image

from sdsearch.labels.costs import read_costs
from sdsearch.labels.recovery import RecoveryLosses, RecoveryRecipe
from sdsearch.pipelines import open_pipeline
from sdsearch.space.latency import LatencyConditions, design_survey, read_survey
from sdsearch.space.space import search_space
from sdsearch.study.config import MachineConfig
from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.backbone import TINY
from sdsearch.unet.cost import count_params
from sdsearch_eval.app.actions import Studio
from sdsearch_eval.bench import bench as bench_module
from sdsearch_eval.bench.bench import prepare_bench
from sdsearch_eval.bench.evaluate import evaluate_architecture
from sdsearch_eval.bench.floors import write_floors
from sdsearch_eval.cache import TensorCache
from sdsearch_eval.devices import memory_format, name_device, quick_dtype, set_arithmetic
from sdsearch_eval.jobs import workspace
from sdsearch_eval.jobs.workspace import open_console
from sdsearch_eval.models.teacher import load_teacher
from sdsearch_eval.nets.lpips import Lpips, linear_weights
from sdsearch_eval.pictures.costs import measure_exports
from sdsearch_eval.pictures.side_by_side import paint_side_by_side
from sdsearch_eval.pictures.thumbnails import draw_thumbnails
from sdsearch_eval.recovery.distillation import FeaturePairs, feature_error
from sdsearch_eval.recovery.short import Lessons, recover_student
from sdsearch_eval.sampling import latency
from sdsearch_eval.sampling.survey import fill_survey
from sdsearch_eval.world import World
from tests.eval.nets.test_lpips import random_trunk
from tests.eval.pictures.test_side_by_side import request
from tests.eval.pretended import GPU, pretended_gpu
from tests.fakes import make_study, tiny_member
from tests.unets import random_wide_members

TEXT = "[protocol]\nsamples = 2\nsteps = 2\n"


def with_channels(teacher, channels):
    if channels == 9:
        return teacher
    state = {**teacher.unet_state}
    state["conv_in.weight"] = state["conv_in.weight"][:, :4].contiguous()
    backbone = teacher.backbone.model_copy(update={"in_channels": 4})
    return replace(teacher, backbone=backbone, unet_state=state, sha256="4" * 64)


def label(protocol, teacher, machine=None):
    with TemporaryDirectory() as folder:
        place = Path(folder)
        bench = prepare_bench(protocol, 0, teacher, place, machine)
        found = evaluate_architecture(
            tiny_member("bk-tiny"), bench, place / "rows", place / "weights.safetensors"
        )
        write_floors(bench, place / "floors.json")
    assert found.status == "ok", str(found.failure)
    return found


def on_the_gpu(protocol, channels, **how):
    with pretended_gpu():
        teacher = with_channels(load_teacher(open_pipeline("tiny"), GPU), channels)
        return label(protocol, teacher, **how)


@pytest.mark.parametrize("channels", [4, pytest.param(9, marks=pytest.mark.slow)])
def test_a_label_on_a_gpu_has_the_values_of_one_on_the_processor(teacher, small, channels):
    there, here = (
        on_the_gpu(small, channels),
        label(small, with_channels(teacher, channels)),
    )
    for name in ("psnr_hole", "ssim_full", "fd_efflite0", "latent_mse_vs_teacher"):
        assert there.scalar(name) == pytest.approx(here.scalar(name), rel=0.02), name
    assert there.provenance["peak_device_bytes"] == 1 << 20
    assert "peak_device_bytes" not in here.provenance


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_names_no_label_is_in_half_precision_on_a_gpu_alone(dtype):
    assert quick_dtype(torch.device("cpu"), dtype) == "float32"
    assert quick_dtype(GPU, dtype) == dtype


def test_official_lpips_is_measured_on_a_gpu(small, monkeypatch):
    linear = torch.load(linear_weights(), map_location="cpu", weights_only=True)
    net, places = Lpips(random_trunk(), linear).eval(), []
    net.register_forward_hook(lambda *call: places.append(call[2].device))
    monkeypatch.setattr(bench_module, "load_lpips", lambda: net)
    assert on_the_gpu(small.model_copy(update={"lpips": "alex"}), 9).scalar("lpips_alex") > 0
    assert set(places) == {GPU}


def test_all_losses_and_a_half_teacher_learn_on_a_gpu(small):
    recipe = RecoveryRecipe(
        steps=2,
        batch_size=3,
        losses=RecoveryLosses(output=1.0, task=1.0, feature=1.0),
        teacher_dtype="bfloat16",
    )
    protocol = small.model_copy(update={"recovery": recipe})
    saving = MachineConfig(gradient_checkpointing=True, micro_batch=2)
    on_the_gpu(protocol, 9, machine=saving)


def test_features_of_a_narrower_student_are_compared_on_a_gpu_without_waiting():
    (arch,) = random_wide_members(1, seed=71)
    with pretended_gpu() as marks:
        teacher = load_teacher(open_pipeline("tiny"), GPU)
        pairs = FeaturePairs(arch, teacher)
        student, net = teacher.student(arch), teacher.student(UNPRUNED)
        noisy = torch.randn(2, 9, 16, 16).to(GPU)
        text = torch.randn(2, 32, net.config.cross_attention_dim).to(GPU)
        at = torch.full((2,), 500).to(GPU)
        with pairs.student_taps(student) as found, pairs.teacher_taps(net) as wanted:
            for unet in (student, net):
                unet(noisy, at, text)
        marks.waits = 0
        kept = pairs.inherited(wanted.outputs)
        error = feature_error(found.outputs, kept)
        assert marks.waits == 0
        assert float(error.detach()) > 0
    assert any(a.shape[1] < b.shape[1] for a, b in zip(kept, wanted.outputs, strict=True))


@pytest.mark.parametrize(("said", "device"), [("auto", "cpu"), ("device", "cuda")])
def test_a_teacher_waits_where_the_machine_says_while_a_student_learns(
    said, device, small, tmp_path
):
    recipe = RecoveryRecipe(steps=1, batch_size=1)
    places = []
    with pretended_gpu():
        teacher = load_teacher(open_pipeline("tiny"), GPU)

        def see(*_):
            places.append(next(teacher.vae.parameters()).device.type)
            places.append(next(teacher.text_encoder.parameters()).device.type)

        lessons = Lessons(
            teacher, small.model_copy(update={"recovery": recipe}), 0, TensorCache(tmp_path, {})
        )
        student = teacher.student(tiny_member("bk-tiny"))
        student.register_forward_hook(see)
        recover_student(
            student, tiny_member("bk-tiny"), lessons, recipe, MachineConfig(teacher=said)
        )
        assert places == [device, device]
        assert next(teacher.vae.parameters()).device == GPU


@pytest.mark.parametrize("scheduler", ["pndm", "euler", "dpmsolver++", "unipc", "deis"])
def test_every_sampler_runs_on_a_gpu_and_waits_for_it_once_a_block(small, scheduler):
    protocol = small.model_copy(
        update={"scheduler": scheduler, "steps": 5, "guidance": 2.0, "samples": 4}
    )
    from sdsearch_eval.data.samples import load_samples
    from sdsearch_eval.sampling.generation import generate
    from sdsearch_eval.sampling.sampling import prepare_inputs

    with pretended_gpu() as marks:
        teacher = load_teacher(open_pipeline("tiny"), GPU)
        samples = load_samples(protocol)
        inputs = prepare_inputs(teacher, samples, 0)
        unet = teacher.student(tiny_member("bk-tiny"))
        marks.waits = 0
        made = generate(unet, teacher, inputs, samples, protocol)
    assert np.isfinite(made.raw).all()
    assert marks.waits <= 2, "checks that latents and images are finite"


@pytest.fixture(autouse=True)
def _cost_of_one_picture(monkeypatch):
    """Where a picture is painted shows at the first; it is timed no more often."""
    monkeypatch.setattr(latency, "LONG", 0.0)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_pipelines_are_compared_on_a_gpu(picture, tmp_path):
    out = tmp_path / "grid.png"
    with pretended_gpu():
        paint_side_by_side(request(picture, out), GPU, open_console(World(device=GPU)))
    assert out.is_file()


def test_a_study_is_compared_and_a_student_recovered_on_a_gpu(tmp_path):
    study = make_study(tmp_path / "study", TEXT + "recovery = { steps = 1, batch_size = 2 }\n")
    world = World(device=GPU)
    with pretended_gpu():
        console = open_console(world)
        bench = workspace.open_bench(study, console, world)
        unet = workspace.open_student(study, tiny_member("bk-tiny"), bench, console)
        assert next(unet.parameters()).device == GPU
    assert study.recovered_file(tiny_member("bk-tiny").key).is_file()


def test_the_app_paints_and_draws_thumbnails_on_a_gpu(tmp_path):
    study = make_study(tmp_path / "study", TEXT)
    hole = np.zeros((64, 64), np.uint8)
    hole[20:40, 20:40] = 255
    upload = Image.new("RGB", (64, 64), "olive")
    with pretended_gpu():
        studio = Studio(study, World(device=GPU))
        ((painted, said),) = studio.paint(
            ["teacher"], upload, hole, "a lake", steps=2, guidance=1.0, seed=0
        )
        assert studio.loaded["teacher"].components.device == GPU
    assert painted.size == (64, 64)
    assert "ms a UNet call" in said


@pytest.mark.slow
def test_thumbnails_are_painted_on_a_gpu(tmp_path):
    import shutil

    from sdsearch.assets import TINY_TEACHER, asset_path

    study = make_study(tmp_path / "study", TEXT)
    shutil.copytree(asset_path(TINY_TEACHER), study.pipelines_dir / "autobuild-1")
    with pretended_gpu():
        draw_thumbnails(study, ["autobuild-1"], GPU)
        measure_exports(study, ["autobuild-1"], GPU)
    assert (study.pipelines_dir / "autobuild-1" / "thumbnails" / "scene-1.webp").is_file()
    cost, _ = read_costs(study.pipelines_dir / "autobuild-1" / "costs.json")
    assert cost.picture.device == "Pretended GPU"
    assert cost.picture.peak_bytes > (1 << 20) + 4 * count_params(UNPRUNED, TINY)


def test_latency_is_surveyed_on_a_gpu(tmp_path):
    path = tmp_path / "survey.json"
    conditions = LatencyConditions(
        latent=(8, 8), rounds=1, runs=1, device="cuda:0", threads=torch.get_num_threads()
    )
    survey = design_survey(search_space("tiny"), 20, conditions, np.random.default_rng(0))
    path.write_text(survey.model_copy(update={"members": survey.members[:2]}).model_dump_json())
    with pretended_gpu():
        fill_survey(path)
    assert read_survey(path).hardware == "Pretended GPU"


def test_timed_calls_copy_no_timestep_to_the_gpu(small, tmp_path, monkeypatch):
    from sdsearch_eval.data.samples import load_samples
    from sdsearch_eval.sampling.sampling import prepare_inputs

    forward, places = UNet2DConditionModel.forward, []

    def seen(unet, sample, timestep, *given, **named):
        places.append(timestep.device)
        return forward(unet, sample, timestep, *given, **named)

    monkeypatch.setattr(UNet2DConditionModel, "forward", seen)
    conditions = LatencyConditions(device="cuda", latent=(16, 16), runs=1)
    survey = design_survey(search_space("tiny"), 20, conditions, np.random.default_rng(0))
    path = tmp_path / "survey.json"
    path.write_text(survey.model_copy(update={"members": survey.members[:1]}).model_dump_json())
    with pretended_gpu():
        teacher = load_teacher(open_pipeline("tiny"), GPU)
        inputs = prepare_inputs(teacher, load_samples(small)[:1], 0)
        latency.measure_latency(teacher.student(tiny_member("bk-tiny")), inputs)
        fill_survey(path)
    assert len(places) > latency.LATENCY_CALLS
    assert set(places) == {GPU}


def test_the_pretended_gpu_refuses_what_a_gpu_refuses():
    with pretended_gpu():
        there, here = torch.ones(3, device=GPU), torch.ones(3)
        assert there.device == GPU
        assert torch.equal((there + there.to(GPU)).cpu(), torch.full((3,), 2.0))
        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert (there * torch.tensor(2.0)).device == GPU, "numbers may come from the host"


def test_images_are_channels_last_on_a_processor_alone():
    assert memory_format(torch.device("cpu")) is torch.channels_last
    assert memory_format(GPU) is torch.contiguous_format


def test_tf32_is_set_for_matrices_and_convolutions_alike():
    try:
        for wanted in (True, False):
            set_arithmetic(tf32=wanted)
            assert torch.backends.cudnn.allow_tf32 is wanted
            assert torch.backends.cuda.matmul.allow_tf32 is wanted
    finally:
        set_arithmetic(tf32=False)


def test_a_processor_has_a_name():
    assert name_device(torch.device("cpu"))
