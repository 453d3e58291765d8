from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from sdsearch.errors import InputError
from sdsearch.labels.protocol import Protocol
from sdsearch.unet.architecture import UNPRUNED
from sdsearch_eval.bench.bench import prepare_bench
from sdsearch_eval.bench.rows import measure_images
from sdsearch_eval.nets.extractors import load_extractor
from sdsearch_eval.nets.features import extract_features
from sdsearch_eval.nets.inception import (
    OFFICIAL_FILE,
    InceptionV3,
    official_weights,
    prepare_inception,
)
from sdsearch_eval.sampling.generation import generate


def images(count=2, side=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="session")
def random_inception(tmp_path_factory):
    """A file of random weights that keep their activations at an ordinary size."""
    generator = torch.Generator().manual_seed(0)
    state = InceptionV3().state_dict()
    for name, tensor in state.items():
        if tensor.ndim > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.1, generator=generator)
    path = tmp_path_factory.mktemp("hub") / OFFICIAL_FILE
    torch.save(state, path)
    return path


def test_the_name_fid_refuses_weights_that_are_not_the_official_ones(random_inception, monkeypatch):
    with pytest.raises(InputError, match=r"6726825d.*no FID"):
        load_extractor(f"fid:{random_inception}")
    folder = random_inception.parent / "home" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / OFFICIAL_FILE).write_bytes(random_inception.read_bytes())
    monkeypatch.setenv("TORCH_HOME", str(random_inception.parent / "home"))
    assert official_weights() == folder / OFFICIAL_FILE
    with pytest.raises(InputError, match="6726825d"):
        load_extractor("fid")


def test_missing_inception_weights_are_named_by_their_expected_place(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=f"{OFFICIAL_FILE}.*nothing is downloaded"):
        load_extractor("fid")


def test_a_file_of_other_tensors_is_no_inception(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(b"no tensors")
    for name in ("a.pth", "b.pth"):
        with pytest.raises(InputError, match="holds no weights of this Inception"):
            load_extractor(f"inception:{tmp_path / name}")


@pytest.mark.parametrize("name", ["resnet", "inception", "clip", "FID", "efflite0:x"])
def test_an_unknown_extractor_is_refused_with_the_known_names(name):
    with pytest.raises(InputError, match="must be 'efflite0', 'fid'"):
        load_extractor(name)


@pytest.mark.parametrize("side", [64, 299, 512])
def test_inception_resizes_as_tensorflow_1_does(side):
    pixels = images(1, side).float()
    found = prepare_inception(pixels, 0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        channel, row, column = (int(rng.integers(high)) for high in (3, 299, 299))
        y, x = row * side / 299, column * side / 299
        top, left = math.floor(y), math.floor(x)
        down, right = min(top + 1, side - 1), min(left + 1, side - 1)
        grid = pixels[0, channel].double()
        above = grid[top, left] * (1 - (x - left)) + grid[top, right] * (x - left)
        below = grid[down, left] * (1 - (x - left)) + grid[down, right] * (x - left)
        value = above * (1 - (y - top)) + below * (y - top)
        expected = (float(value) - 128) / 128
        assert float(found[0, channel, row, column]) == pytest.approx(expected, abs=1e-5)


def test_inception_equals_torch_fidelitys(random_inception):
    fidelity = pytest.importorskip("torch_fidelity")
    theirs = fidelity.FeatureExtractorInceptionV3(
        "inception", ["2048"], feature_extractor_weights_path=str(random_inception)
    )
    ours = extract_features(load_extractor(f"inception:{random_inception}"), images(), 128)
    assert torch.allclose(ours.pooled, theirs(images())[0], rtol=1e-4, atol=1e-4)


def test_inception_has_the_parts_and_the_parameters_of_the_graph_of_2015(random_inception):
    net = InceptionV3()
    assert len(net.state_dict()) == 566
    assert sum(p.numel() for p in net.parameters()) == 23_850_960
    found = extract_features(load_extractor(f"inception:{random_inception}"), images(), 128)
    assert found.pooled.shape == (2, 2048)
    assert [level.shape[1:] for level in found.maps] == [
        (64, 73, 73),
        (192, 35, 35),
        (768, 17, 17),
        (2048, 8, 8),
    ]
    assert float(found.pooled.std()) > 0


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
        projection_dim=24,
    )
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        model = CLIPVisionModelWithProjection(config)
    folder = tmp_path_factory.mktemp("clip")
    model.save_pretrained(folder)
    return folder


def test_clip_features_are_the_towers_image_embeddings(clip_folder):
    found = extract_features(load_extractor(f"clip:{clip_folder}"), images(side=32), 128)
    model = CLIPVisionModelWithProjection.from_pretrained(clip_folder)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    with torch.no_grad():
        expected = model((images(side=32) / 255 - mean) / deviation).image_embeds
    assert torch.allclose(found.pooled, expected, atol=1e-5)
    assert [tuple(level.shape) for level in found.maps] == [(2, 32, 4, 4)] * 4


def test_a_clip_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_extractor(f"clip:{tmp_path}")


def test_the_columns_of_a_label_carry_the_extractors_name(teacher, small, clip_folder, tmp_path):
    protocol = Protocol(**{**small.model_dump(), "extractor": f"clip:{clip_folder}"})
    bench = prepare_bench(protocol, 0, teacher, tmp_path)
    unet = teacher.student(UNPRUNED)
    made = generate(unet, teacher, bench.inputs, bench.samples, protocol)
    values = measure_images(made.composited, bench)
    assert {"fd_clip", "kid_clip", "lpips_like_clip", "fd_vs_teacher"} <= set(values)
    assert not any("fid" in name or "efflite0" in name for name in values)
    assert values["fd_vs_teacher"].value == pytest.approx(0, abs=1e-6)


def test_only_the_official_weights_give_columns_called_fid_and_kid():
    official = Protocol(extractor="fid:weights.pth")
    columns = [official.column(metric) for metric in ("fd", "kid", "lpips_like")]
    assert columns == ["fid", "kid", "lpips_like_inception"]
    assert Protocol(extractor="inception:fid.pth").column("fd") == "fd_inception"
    assert Protocol().column("fd") == "fd_efflite0"
