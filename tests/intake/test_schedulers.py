"""Teachers saved with any scheduler are sampled on its noise schedule, and by nothing else of it.

The reference is the stock pipeline with a sampler made by hand, field by field. Samplers made by
`from_config` would take over what the saved scheduler happens to say.
"""

from __future__ import annotations

import inspect
import json
import random
import re
import warnings
from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.errors import InputError
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.samplers import SAMPLERS
from sdsearch.pipelines.folder import PipelineFolder, open_pipeline
from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.noise_schedule import NoiseSchedule, read_noise_schedule
from sdsearch_eval.data.sample import Sample
from sdsearch_eval.data.samples import load_samples
from sdsearch_eval.models.schedulers import make_scheduler
from sdsearch_eval.models.teacher import load_teacher
from sdsearch_eval.sampling.sampling import prepare_inputs, sample_latents, tensor_to_images

# What each class says that must not reach a sampler, or that another class reads otherwise.
SAVED = {
    "DDIMScheduler": {"clip_sample": True, "set_alpha_to_one": True},
    "DDIMParallelScheduler": {"thresholding": True, "set_alpha_to_one": False},
    "DDPMScheduler": {"variance_type": "learned", "clip_sample_range": 0.1},
    "DDPMParallelScheduler": {"thresholding": True, "sample_max_value": 2.0},
    "PNDMScheduler": {"skip_prk_steps": False, "set_alpha_to_one": True},
    "LMSDiscreteScheduler": {"use_karras_sigmas": True},
    "EulerDiscreteScheduler": {"interpolation_type": "log_linear", "sigma_max": 3.0},
    "EulerAncestralDiscreteScheduler": {},
    "HeunDiscreteScheduler": {"clip_sample": True, "use_exponential_sigmas": True},
    "KDPM2DiscreteScheduler": {"use_karras_sigmas": True},
    "KDPM2AncestralDiscreteScheduler": {"use_beta_sigmas": True},
    "DPMSolverMultistepScheduler": {"algorithm_type": "sde-dpmsolver++", "solver_order": 3},
    "DPMSolverSinglestepScheduler": {"algorithm_type": "dpmsolver", "solver_type": "heun"},
    "UniPCMultistepScheduler": {"solver_type": "bh1", "disable_corrector": [0], "solver_order": 1},
    "DEISMultistepScheduler": {"solver_order": 1, "thresholding": True},
    "SASolverScheduler": {"algorithm_type": "noise_prediction"},
}
PREDICTIONS = ("epsilon", "v_prediction")
TABLE = [(kind, p, sampler) for kind in SAVED for p in PREDICTIONS for sampler in SAMPLERS]
SLICE = random.Random(17).sample(TABLE, 8)


def saved_config(kind, prediction_type):
    """What a scheduler's `save_pretrained` writes for a noise schedule, and foreign options."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # K-DPM2 calls numpy in a deprecated way
        scheduler = getattr(diffusers, kind)(
            beta_start=0.001,
            beta_end=0.011,
            beta_schedule="scaled_linear",
            prediction_type=prediction_type,
        )
    return {**json.loads(scheduler.to_json_string()), **SAVED[kind]}


def sampler_by_hand(sampler, prediction_type, said):
    """A sampler of diffusers whose every field that matters is written out here."""
    noise = {
        "num_train_timesteps": 1000,
        "beta_start": 0.001,
        "beta_end": 0.011,
        "beta_schedule": "scaled_linear",
        "prediction_type": prediction_type,
        "timestep_spacing": said.get("timestep_spacing", "leading"),
        "steps_offset": 1,
    }
    last = {"set_alpha_to_one": said.get("set_alpha_to_one", False)}
    if sampler == "ddim":
        return diffusers.DDIMScheduler(**noise, **last, clip_sample=False, thresholding=False)
    if sampler == "pndm":
        return diffusers.PNDMScheduler(**noise, **last, skip_prk_steps=True)
    if sampler == "euler":
        return diffusers.EulerDiscreteScheduler(**noise, interpolation_type="linear")
    if sampler == "dpmsolver++":
        return diffusers.DPMSolverMultistepScheduler(
            **noise,
            algorithm_type="dpmsolver++",
            solver_order=2,
            solver_type="midpoint",
            lower_order_final=True,
            thresholding=False,
        )
    if sampler == "unipc":
        return diffusers.UniPCMultistepScheduler(
            **noise,
            solver_order=2,
            solver_type="bh2",
            predict_x0=True,
            disable_corrector=[],
            lower_order_final=True,
            thresholding=False,
        )
    assert sampler == "deis"
    return diffusers.DEISMultistepScheduler(
        **noise, solver_order=2, solver_type="logrho", lower_order_final=True, thresholding=False
    )


@pytest.fixture(scope="module")
def teacher():
    return load_teacher(open_pipeline("tiny"), torch.device("cpu"))


@pytest.fixture(scope="module")
def unet(teacher):
    return teacher.student(UNPRUNED)


@pytest.fixture(scope="module")
def task():
    scene = load_samples(Protocol(samples=2))[0]
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 8:40] = 255
    return Sample("aligned", scene.image, "a red house by a lake", mask)


@pytest.fixture(scope="module")
def inputs(teacher, task):
    return prepare_inputs(teacher, [task], 7)


def paint(teacher, unet, inputs, sampler="ddim", steps=3):
    latents = sample_latents(unet, inputs, teacher, steps=steps, guidance=1.0, sampler=sampler)
    return tensor_to_images(teacher.decode_latents(latents))[0].astype(int)


def paint_stock(teacher, unet, inputs, task, scheduler, steps=3):
    pipeline = diffusers.StableDiffusionInpaintPipeline(
        teacher.vae,
        teacher.text_encoder,
        teacher.tokenizer,
        unet,
        scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    painted = pipeline(
        task.caption,
        image=Image.fromarray(task.image),
        mask_image=Image.fromarray(task.mask),
        masked_image_latents=inputs.masked_latents,
        latents=inputs.noise,
        strength=1.0,
        height=64,
        width=64,
        num_inference_steps=steps,
        guidance_scale=1.0,
        output_type="np",
    ).images[0]
    return (painted * 255).round().astype(int)


def taught(teacher, config):
    """The teacher with another saved scheduler."""
    return replace(teacher, noise_schedule=NoiseSchedule.from_config(config))


def check_pictures(teacher, unet, inputs, task, case):
    kind, prediction_type, sampler = case
    config = saved_config(kind, prediction_type)
    ours = paint(taught(teacher, config), unet, inputs, sampler)
    by_hand = sampler_by_hand(sampler, prediction_type, config)
    stock = paint_stock(teacher, unet, inputs, task, by_hand)
    assert np.abs(stock - ours).max() <= 1
    assert ours.std() > 5


@pytest.mark.parametrize("case", SLICE, ids="-".join)
def test_pictures_of_a_saved_scheduler_equal_the_stock_pipeline_by_hand(
    teacher, unet, inputs, task, case
):
    check_pictures(teacher, unet, inputs, task, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", TABLE, ids="-".join)
def test_pictures_of_every_saved_scheduler_equal_the_stock_pipeline_by_hand(
    teacher, unet, inputs, task, case
):
    check_pictures(teacher, unet, inputs, task, case)


def test_a_teacher_saved_with_euler_is_not_clipped_by_ddim(teacher, unet, inputs):
    euler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        steps_offset=1,
    )
    saved = taught(teacher, json.loads(euler.to_json_string()))
    assert saved.scheduler(4).config.clip_sample is False
    # Euler cannot say `set_alpha_to_one`, which the embedded teacher's own scheduler sets.
    told = teacher.noise_schedule.model_copy(update={"set_alpha_to_one": False})
    same = replace(teacher, noise_schedule=told)
    assert np.array_equal(paint(saved, unet, inputs), paint(same, unet, inputs))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_embedded_teacher_keeps_its_own_noise_schedule(teacher, sampler):
    config = teacher.scheduler(4, sampler).config
    saved = json.loads((asset_path(TINY_TEACHER) / "scheduler/scheduler_config.json").read_text())
    for name in ("num_train_timesteps", "beta_schedule", "prediction_type", "timestep_spacing"):
        assert config[name] == saved[name]
    if sampler == "ddim":
        assert {name: config[name] for name in saved if name[0] != "_"} == {
            name: value for name, value in saved.items() if name[0] != "_"
        }


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_option_of_a_sampler_is_said_by_the_teacher_or_by_the_protocol(sampler):
    kind, takes, options = SAMPLERS[sampler]
    known = set(inspect.signature(getattr(diffusers, kind).__init__).parameters) - {"self"}
    noise = known & set(NoiseSchedule.model_fields)
    assert noise >= set(takes)
    assert not noise & set(options)
    assert known == noise | set(options)


@pytest.mark.parametrize("sampler", ["pndm", "deis"])
def test_zero_terminal_snr_reaches_samplers_that_know_no_rescaling(teacher, sampler):
    signal = teacher.scheduler(20, sampler).alphas_cumprod
    exact = teacher.scheduler(20, "ddim").alphas_cumprod
    assert signal[-1] == pytest.approx(2.0**-24, rel=1e-3)
    assert torch.allclose(signal[:-1], exact[:-1], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["pndm", "deis"])
def test_zero_terminal_snr_brings_other_samplers_nearer_to_many_steps(
    teacher, unet, inputs, sampler
):
    fine = sample_latents(unet, inputs, teacher, steps=40, guidance=1.0)
    distances = []
    for zero in (True, False):
        told = teacher.noise_schedule.model_copy(update={"rescale_betas_zero_snr": zero})
        other = replace(teacher, noise_schedule=told)
        latents = sample_latents(unet, inputs, other, steps=20, guidance=1.0, sampler=sampler)
        distances.append(float((latents - fine).square().mean()))
    assert distances[0] < distances[1]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_seed_gives_one_picture_whatever_was_saved(teacher, unet, inputs, sampler):
    config = saved_config("DPMSolverMultistepScheduler", "v_prediction")
    noisy = taught(teacher, config)
    once, twice = (paint(noisy, unet, inputs, sampler, steps=2) for _ in range(2))
    assert np.array_equal(once, twice)


def test_what_a_scheduler_leaves_unsaid_is_the_convention_of_stable_diffusion():
    assert NoiseSchedule.from_config({"_class_name": "LMSDiscreteScheduler"}) == NoiseSchedule(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        trained_betas=None,
        prediction_type="epsilon",
        rescale_betas_zero_snr=False,
        timestep_spacing="leading",
        set_alpha_to_one=False,
    )


def test_trained_betas_reach_every_sampler():
    betas = np.linspace(0.002, 0.013, 1000).tolist()
    saved = diffusers.DDPMScheduler(trained_betas=betas)
    schedule = NoiseSchedule.from_config(json.loads(saved.to_json_string()))
    for sampler in SAMPLERS:
        built = make_scheduler(schedule, sampler)
        assert torch.equal(built.betas, torch.tensor(betas))


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("FlowMatchEulerDiscreteScheduler", "flow matching"),
        ("FlowMatchHeunDiscreteScheduler", "flow matching"),
        ("LCMScheduler", "distilled"),
        ("TCDScheduler", "distilled"),
        ("CMStochasticIterativeScheduler", "trained with"),
        ("EDMEulerScheduler", "sigmas"),
        ("EDMDPMSolverMultistepScheduler", "sigmas"),
        ("IPNDMScheduler", "trained with"),
        ("UnCLIPScheduler", "unCLIP"),
        ("CogVideoXDDIMScheduler", "trained with"),
        (None, "trained with"),
        (["DDIMScheduler"], "trained with"),
    ],
)
def test_schedulers_of_other_kinds_of_models_are_refused_by_name(kind, why):
    with pytest.raises(InputError, match=why) as caught:
        NoiseSchedule.from_config({"_class_name": kind})
    assert repr(kind) in str(caught.value)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"prediction_type": "sample"}, "prediction_type"),
        ({"prediction_type": "flow_prediction"}, "prediction_type"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas"),
        ({"timestep_type": "continuous"}, "timestep_type"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule"),
        ({"beta_start": "0.00085"}, "beta_start"),
        ({"beta_end": float("nan")}, "beta_end"),
        ({"num_train_timesteps": None}, "num_train_timesteps"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas"),
        ({"num_train_timesteps": 2, "trained_betas": [0.1, 1.0]}, "trained_betas"),
    ],
)
def test_a_field_that_no_stable_diffusion_has_is_refused_by_name(said, named):
    with pytest.raises(InputError, match=named):
        NoiseSchedule.from_config({"_class_name": "UniPCMultistepScheduler", **said})


def test_betas_that_leave_no_signal_are_refused():
    schedule = NoiseSchedule(beta_start=0.9, beta_end=0.99)
    with pytest.raises(InputError, match="signal and noise"):
        make_scheduler(schedule, "euler")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"_class_name": 1e999}', "\xff"])
def test_a_scheduler_file_that_says_nothing_is_refused(tmp_path, text):
    (tmp_path / "scheduler").mkdir()
    file = tmp_path / "scheduler" / "scheduler_config.json"
    file.write_bytes(text.encode("latin-1"))
    index = {"scheduler": ["diffusers", "DDIMScheduler"]}
    with pytest.raises(InputError, match=re.escape(str(file))):
        read_noise_schedule(PipelineFolder("mine", tmp_path, index))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (["diffusers", "LCMScheduler"], "distilled"),
        (["diffusers", "FlowMatchEulerDiscreteScheduler"], "flow matching"),
        (["evil", "X"], "'X'"),
        (["evil", "DDIMScheduler"], "no other library"),
        ([None, None], "None"),
        ("DDIMScheduler", "no other library"),
        (None, "None"),
    ],
)
def test_the_class_by_which_a_stock_pipeline_loads_a_scheduler_is_judged_too(entry, said):
    tiny = open_pipeline("tiny")
    told = replace(tiny, index={**tiny.index, "scheduler": entry})
    where = re.escape(f"scheduler in {tiny.folder / 'model_index.json'}")
    with pytest.raises(InputError, match=f"{where} must be .*{said}"):
        read_noise_schedule(told)


@pytest.mark.parametrize("kind", sorted(SAVED))
def test_another_sampler_of_the_same_kind_leaves_the_noise_schedule_as_it_is(kind):
    tiny = open_pipeline("tiny")
    told = replace(tiny, index={**tiny.index, "scheduler": ["diffusers", kind]})
    assert read_noise_schedule(told) == read_noise_schedule(tiny)


def test_more_steps_than_the_noise_schedule_has_are_refused(teacher):
    short = replace(teacher, noise_schedule=NoiseSchedule(num_train_timesteps=10))
    for sampler in SAMPLERS:
        assert len(short.scheduler(8, sampler).timesteps) >= 8
        with pytest.raises(InputError, match="steps must be fewer than the 10 timesteps"):
            short.scheduler(10, sampler)


def test_predicted_noise_without_any_signal_is_refused(teacher):
    schedule = NoiseSchedule(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    blind = replace(teacher, noise_schedule=schedule)
    with pytest.raises(InputError, match="some signal"):
        blind.scheduler(4)
    assert blind.scheduler(4, "euler")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=4),
    max_leaves=4,
)
FIELDS = sorted({*NoiseSchedule.model_fields, "_class_name", "timestep_type", "clip_sample"})
LIKELY = st.fixed_dictionaries(
    {"_class_name": st.sampled_from(sorted(SAVED))},
    optional={
        "num_train_timesteps": st.integers(1, 50),
        "beta_start": st.floats(0, 1),
        "beta_end": st.floats(0, 1),
        "beta_schedule": st.sampled_from(["linear", "scaled_linear", "squaredcos_cap_v2"]),
        "trained_betas": st.none() | st.lists(st.floats(0, 1), min_size=1, max_size=4),
        "prediction_type": st.sampled_from(PREDICTIONS),
        "rescale_betas_zero_snr": st.booleans(),
        "timestep_spacing": st.sampled_from(["leading", "trailing", "linspace"]),
        "set_alpha_to_one": st.booleans(),
    },
)


@pytest.mark.fuzz
@given(
    config=st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=4), ANYTHING) | LIKELY,
    sampler=st.sampled_from(sorted(SAMPLERS)),
    steps=st.integers(1, 60),
)
def test_any_scheduler_config_gives_a_scheduler_or_is_refused_in_words(
    teacher, config, sampler, steps
):
    try:
        scheduler = taught(teacher, config).scheduler(steps, sampler)
    except InputError:
        return
    assert scheduler.timesteps.min() >= 0
    assert scheduler.timesteps.max() < scheduler.config.num_train_timesteps
