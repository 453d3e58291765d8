"""A teacher that is one file in the original layout is the same teacher as its folder."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionInpaintPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import sdsearch
from sdsearch.errors import InputError
from sdsearch.export.papers import public_name
from sdsearch.files import TensorEntry
from sdsearch.original import (
    PREFIXES,
    FamilyName,
    Renaming,
    SingleFile,
    family_folder,
    find_pieces,
    name_text,
    name_unet,
    name_vae,
    read_single_file,
)
from sdsearch.pipelines.folder import locate_pipeline, open_pipeline, read_part
from sdsearch.pipelines.single_file import safe_command
from sdsearch.space.weight_file import tensor_shapes
from sdsearch.unet.architecture import NAMED, UNPRUNED, Architecture
from sdsearch.unet.backbone import PRESETS, SD14, TINY, Backbone
from sdsearch.unet.noise_schedule import read_noise_schedule
from sdsearch.unet.teacher import teacher_backbone, teacher_identity, teacher_resolution
from sdsearch.weights.parts import load_part, load_tokenizer
from sdsearch.weights.single_file import pack_pipeline
from tests.export.exports import edit
from tests.fakes import fake_teacher

if TYPE_CHECKING:
    from collections.abc import Mapping

Entries = dict[str, TensorEntry]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sdsearch.pipelines.single_file.cached_folder", lambda *_: None)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = fake_teacher(tmp_path_factory.mktemp("teacher") / "pipeline")
    pack_pipeline(open_pipeline(str(made)), made.with_suffix(".safetensors"), half=False)
    return made


def pack(teacher: Path, file: Path, *, half: bool = False) -> Path:
    """The teacher as one file, and beside it the configs of a UNet that is of no known size."""
    if half:
        pack_pipeline(open_pipeline(str(teacher)), file)
    else:
        shutil.copyfile(teacher.with_suffix(".safetensors"), file)
    for part in ("unet", "vae", "text_encoder"):
        (file.with_suffix("") / part).mkdir(parents=True)
        shutil.copyfile(teacher / part / "config.json", file.with_suffix("") / part / "config.json")
    shutil.copytree(teacher / "tokenizer", file.with_suffix("") / "tokenizer")
    return file


def weights(folder: Path, part: str) -> dict[str, torch.Tensor]:
    (file,) = read_part(open_pipeline(str(folder)), part).weight_files
    return {name.removeprefix("text_model."): one for name, one in load_file(file).items()}


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_every_part_of_the_file_is_that_of_the_folder(teacher: Path, tmp_path: Path) -> None:
    file = pack(teacher, tmp_path / "model.safetensors")
    unpacked = locate_pipeline(str(file))
    assert isinstance(unpacked, Path)
    for part in ("unet", "vae", "text_encoder"):
        assert same(weights(unpacked, part), weights(teacher, part))
    assert teacher_backbone(str(file)) == TINY
    pipeline = open_pipeline(str(file))
    tokenizer = load_tokenizer(
        read_part(pipeline, "tokenizer"), read_part(pipeline, "text_encoder")
    )
    assert tokenizer("abc").input_ids[:3] == [len(tokenizer) - 2, 0, 1]
    for part in ("unet", "vae", "text_encoder", "scheduler"):
        load_part(read_part(pipeline, part))


def test_diffusers_reads_the_same_tensors_from_the_file(teacher: Path, tmp_path: Path) -> None:
    file = pack(teacher, tmp_path / "model.safetensors")
    unpacked = locate_pipeline(str(file))
    assert isinstance(unpacked, Path)
    stock = StableDiffusionInpaintPipeline.from_single_file(
        str(file), config=str(unpacked), local_files_only=True
    )
    assert same(stock.unet.state_dict(), weights(unpacked, "unet"))
    assert same(stock.vae.state_dict(), weights(unpacked, "vae"))
    text = {n.removeprefix("text_model."): t for n, t in stock.text_encoder.state_dict().items()}
    assert same(text, weights(unpacked, "text_encoder"))


def test_averages_are_not_taken_and_halves_stay_halves(teacher: Path, tmp_path: Path) -> None:
    file = pack(teacher, tmp_path / "model.safetensors", half=True)
    tensors = load_file(file)
    averages = {
        "model_ema." + name.removeprefix("model.").replace(".", ""): torch.zeros(3)
        for name in tensors
        if name.startswith(PREFIXES["unet"])
    }
    other = {"first_stage_model.loss.logvar": torch.zeros(1), "betas": torch.zeros(4)}
    save_file({**tensors, **averages, **other}, file)
    unpacked = locate_pipeline(str(file))
    assert isinstance(unpacked, Path)
    found = weights(unpacked, "unet")
    meant = {name: one.half() for name, one in weights(teacher, "unet").items()}
    assert same(found, meant)
    assert load_part(read_part(open_pipeline(str(file)), "unet")).dtype == torch.float32


def test_it_is_unpacked_once_and_again_when_it_changes(
    teacher: Path, tmp_path: Path, cache: Path
) -> None:
    file = pack(teacher, tmp_path / "model.safetensors")
    first = locate_pipeline(str(file))
    assert locate_pipeline(str(file)) == first
    identity = teacher_identity(str(file))
    assert public_name(str(file)) == "model"
    os.utime(file, (1, 1))
    second = locate_pipeline(str(file))
    assert second != first
    assert teacher_identity(str(file)) == identity, "it is told by content"
    assert isinstance(second, Path)
    (second / "model_index.json").unlink()
    assert teacher_identity(str(file)) == identity, "what is broken is unpacked again"
    assert not list(cache.rglob("*.tmp"))


def test_a_study_takes_it_as_its_teacher(teacher: Path, tmp_path: Path) -> None:
    file = pack(teacher, tmp_path / "model.safetensors")
    study = sdsearch.create_study(tmp_path / "study", teacher=file, images="scenes")
    assert study.config.teacher.pipeline == str(file)
    assert study.space().backbone == TINY
    assert "works" in str(sdsearch.check_unet(file, against=str(file)))


def test_a_pickle_is_refused_with_the_command_that_converts_it(
    teacher: Path, tmp_path: Path
) -> None:
    file = pack(teacher, tmp_path / "my model.safetensors")
    pickle = file.with_suffix(".ckpt")
    torch.save({"state_dict": load_file(file), "epoch": 3}, pickle)
    file.unlink()
    with pytest.raises(InputError, match="not opened; convert it: python -P -c"):
        locate_pipeline(str(pickle))
    *command, code = shlex.split(safe_command(pickle))
    assert command == ["python", "-P", "-c"]
    exec(compile(code, "the command", "exec"), {})  # noqa: S102 (a process takes seconds to begin)
    unpacked = locate_pipeline(str(file))
    assert isinstance(unpacked, Path)
    assert same(weights(unpacked, "unet"), weights(teacher, "unet"))


def header(
    arch: Architecture = UNPRUNED, backbone: Backbone = SD14, *, open_clip: bool = False
) -> Entries:
    """The header of a file at full size, as far as it is looked at."""
    shapes = dict[str, tuple[int, ...]]()
    known = tensor_shapes(arch, backbone)
    for move in name_unet(known).moves:
        shapes[PREFIXES["unet"] + move.original] = known[move.diffusers[0]]
    clip = "model.ln_final.bias" if open_clip else "transformer.text_model.final_layer_norm.bias"
    shapes[PREFIXES["text_encoder"] + clip] = (8,)
    shapes[PREFIXES["vae"] + "quant_conv.bias"] = (8,)
    return {n: TensorEntry(Path("x"), "F16", s, 0, 0) for n, s in shapes.items()}


@pytest.mark.parametrize(
    ("preset", "family", "channels"),
    [("sd14", "sd1", 4), ("sd14-inpaint", "sd1", 9), ("sd2", "sd2", 4), ("sd2-inpaint", "sd2", 9)],
)
def test_family_and_channels_are_read_from_the_header(
    preset: str, family: FamilyName, channels: int
) -> None:
    entries = header(backbone=PRESETS[preset], open_clip=family == "sd2")
    assert read_single_file(entries, {}, "f") == SingleFile(family, channels, True, None)
    pruned = header(NAMED["bk-small"], PRESETS[preset], open_clip=family == "sd2")
    assert not read_single_file(pruned, {}, "f").is_stock


@pytest.mark.parametrize("channels", [5, 8])
def test_a_unet_of_other_inputs_is_refused(channels: int) -> None:
    backbone = SD14.model_copy(update={"in_channels": channels})
    with pytest.raises(InputError, match=f"4 or 9 input channels, but it has {channels}"):
        read_single_file(header(backbone=backbone), {}, "f")


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, None),
        ({"modelspec.prediction_type": "v"}, "v_prediction"),
        ({"modelspec.prediction_type": "epsilon"}, "epsilon"),
        ({"ss_v_parameterization": "True"}, "v_prediction"),
        ({"modelspec.prediction_type": "guess"}, None),
    ],
)
def test_what_is_predicted_is_read_where_it_stands(
    metadata: dict[str, str], said: str | None
) -> None:
    assert read_single_file(header(), metadata, "f").prediction == said
    marked = {**header(), "v_pred": TensorEntry(Path("x"), "F16", (0,), 0, 0)}
    assert read_single_file(marked, {}, "f").prediction == "v_prediction"


def family_parts(family: FamilyName) -> dict[str, tuple[dict[str, Any], Renaming]]:
    """Autoencoder and text encoder of a family's configs, without numbers, and their names."""
    folder = family_folder(family)
    with torch.device("meta"):
        config = json.loads((folder / "vae/config.json").read_text())
        vae = AutoencoderKL.from_config(config).state_dict()
        config = json.loads((folder / "text_encoder/config.json").read_text())
        text = CLIPTextModel(CLIPTextConfig.from_dict(config)).state_dict()
    text = {"text_model." + n.removeprefix("text_model."): one for n, one in text.items()}
    text = {name: one for name, one in text.items() if "position_ids" not in name}
    return {
        "vae": (vae, name_vae(vae)),
        "text_encoder": (text, name_text(text, open_clip=family == "sd2")),
    }


def family_shapes(family: FamilyName) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for part, (state, renaming) in family_parts(family).items():
        for move in renaming.moves:
            first, *rest = (tuple(state[name].shape) for name in move.diffusers)
            shape = ((1 + len(rest)) * first[0], *first[1:], *((1, 1) if move.kernel else ()))
            shapes[PREFIXES[part] + move.original] = shape
    return shapes


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_the_configs_of_a_family_are_of_the_shapes_in_its_files(family: FamilyName) -> None:
    config = json.loads((family_folder(family) / "unet/config.json").read_text())
    assert Backbone.from_config(config) == PRESETS["sd14" if family == "sd1" else "sd2"]
    shapes = family_shapes(family)
    entries = {name: TensorEntry(Path("x"), "F16", one, 0, 12) for name, one in shapes.items()}
    parts = family_parts(family)
    for part, (state, _) in parts.items():
        found = {one.name: one.shape for one in find_pieces(entries, part)}
        assert found == {name: tuple(one.shape) for name, one in state.items()}
    assert len(parts["vae"][0]) == 248
    assert len(parts["text_encoder"][0]) == {"sd1": 196, "sd2": 372}[family]


def sparse_file(file: Path, shapes: Mapping[str, tuple[int, ...]], said: dict[str, str]) -> Path:
    """A file of full size whose numbers take no space on a disk."""
    header: dict[str, Any] = {"__metadata__": said}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)
    return file


@pytest.mark.parametrize(
    ("preset", "prediction", "meant", "side"),
    [
        ("sd14", "", "sd14", 512),
        ("sd14-inpaint", "", "sd14-inpaint", 512),
        ("sd2-inpaint", "epsilon", "sd2-inpaint", 512),
        ("sd2", "v", "sd21", 768),
    ],
)
def test_a_file_of_full_size_needs_nothing_but_a_vocabulary(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
    prediction: str,
    meant: str,
    side: int,
) -> None:
    family: FamilyName = "sd2" if preset.startswith("sd2") else "sd1"
    unet = header(backbone=PRESETS[preset])
    shapes = {name: one.shape for name, one in unet.items() if name.startswith(PREFIXES["unet"])}
    said = {"modelspec.prediction_type": prediction} if prediction else {}
    file = sparse_file(tmp_path / "m.safetensors", {**shapes, **family_shapes(family)}, said)
    vocabulary = file.with_suffix("") / "tokenizer"
    vocabulary.mkdir(parents=True)
    tiny = Path(locate_pipeline("tiny")) / "tokenizer"
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(tiny / name, vocabulary / name)
    monkeypatch.setattr("sdsearch.pipelines.single_file.write_pieces", lambda *_: None)
    assert teacher_backbone(str(file)) == PRESETS[meant]
    assert teacher_resolution(str(file)) == side
    pipeline = open_pipeline(str(file))
    predicted = "v_prediction" if prediction == "v" else "epsilon"
    assert read_noise_schedule(pipeline).prediction_type == predicted
    settings = json.loads((pipeline.folder / "tokenizer/tokenizer_config.json").read_text())
    assert settings["pad_token"] == ("!" if family == "sd2" else "<|endoftext|>")
    found, known = (
        CLIPTokenizer.from_pretrained(one, local_files_only=True)
        for one in (pipeline.folder / "tokenizer", tiny)
    )
    assert found("a red house").input_ids == known("a red house").input_ids
    assert found.model_max_length == 77


def test_what_a_file_does_not_hold_is_asked_for(teacher: Path, tmp_path: Path) -> None:
    file = pack(teacher, tmp_path / "model.safetensors")
    beside = file.with_suffix("")
    shutil.move(beside / "tokenizer", tmp_path / "tokenizer")
    with pytest.raises(InputError, match=r"vocab\.json and merges\.txt of openai/clip"):
        locate_pipeline(str(file))
    (beside / "vae" / "config.json").unlink()
    with pytest.raises(InputError, match=r"put the configs of its parts into .*model"):
        locate_pipeline(str(file))


def test_a_file_of_sd_2_that_says_no_prediction_is_not_guessed(
    teacher: Path, tmp_path: Path
) -> None:
    file = pack(teacher, tmp_path / "model.safetensors")
    tensors = load_file(file)
    clip = {name for name in tensors if name.startswith(PREFIXES["text_encoder"])}
    state = {name.split("text_model.")[1]: tensors.pop(name) for name in clip}
    for move in name_text(state, open_clip=True).moves:
        joined = torch.cat([state[name] for name in move.diffusers])
        tensors[PREFIXES["text_encoder"] + move.original] = joined
    save_file(tensors, file)
    with pytest.raises(InputError, match=r"'parameterization: v' into .*model\.yaml"):
        locate_pipeline(str(file))
    for said, meant in (("v", "v_prediction"), ('"eps"', "epsilon")):
        file.with_suffix(".yaml").write_text(f"model:\n  params:\n    parameterization: {said}\n")
        assert read_noise_schedule(open_pipeline(str(file))).prediction_type == meant
    assert same(weights(Path(locate_pipeline(str(file))), "text_encoder"), state)
    file.with_suffix(".yaml").write_text("parameterization: x0\n")
    with pytest.raises(InputError, match="x0"):
        locate_pipeline(str(file))
    file.with_suffix(".yaml").unlink()
    save_file(tensors, file, {"modelspec.prediction_type": "v"})
    assert read_noise_schedule(open_pipeline(str(file))).prediction_type == "v_prediction"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("down_blocks.0.resnets.0.conv1.weight", "under diffusers' names"),
        ("lora_unet_mid_block.lora_down.weight", "it is a LoRA"),
        ("model_ema.diffusion_modelout2weight", "averages of training only"),
        ("conditioner.embedders.0.weight", "SDXL"),
        ("something.weight", "begin with something.weight"),
    ],
)
def test_another_file_is_refused_with_what_it_is(tmp_path: Path, name: str, said: str) -> None:
    file = tmp_path / "model.safetensors"
    save_file({name: torch.zeros(2, 2)}, file)
    with pytest.raises(InputError, match=said):
        locate_pipeline(str(file))


def test_a_file_without_its_autoencoder_is_refused(teacher: Path, tmp_path: Path) -> None:
    file = pack(teacher, tmp_path / "model.safetensors")
    save_file({n: t for n, t in load_file(file).items() if "first_stage" not in n}, file)
    with pytest.raises(InputError, match="must hold the vae"):
        locate_pipeline(str(file))
    with pytest.raises(InputError, match="is no file here"):
        locate_pipeline(str(tmp_path / "absent.safetensors"))
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(InputError, match="no readable safetensors file"):
        locate_pipeline(str(tmp_path / "text.safetensors"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"first_stage_model.decoder.mid.attn_1.q.weight": (8, 8, 3, 3)}, "as a matrix"),
        ({"cond_stage_model.transformer.embeddings.token_embedding.weight": (2, 2)}, "does twice"),
        ({"model.diffusion_model.input_blocks.77.0.op.weight": (2, 2)}, "input_blocks.77"),
        ({"first_stage_model.encoder.glue.weight": (2,)}, "encoder.glue"),
    ],
)
def test_a_file_of_odd_tensors_is_refused_and_leaves_nothing(
    teacher: Path, tmp_path: Path, cache: Path, change: dict[str, tuple[int, ...]], said: str
) -> None:
    file = pack(teacher, tmp_path / "model.safetensors")
    odd = {name: torch.zeros(shape) for name, shape in change.items()}
    save_file({**load_file(file), **odd}, file)
    with pytest.raises(InputError, match=said.replace(".", r"\.")):
        locate_pipeline(str(file))
    assert not any(cache.rglob("*.safetensors"))


def test_a_text_encoder_of_no_number_of_layers_is_refused(teacher: Path, tmp_path: Path) -> None:
    file = pack(teacher, tmp_path / "model.safetensors")
    edit(file.with_suffix("") / "text_encoder/config.json", num_hidden_layers="all")
    with pytest.raises(InputError, match="num_hidden_layers must be a whole number"):
        locate_pipeline(str(file))
