from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.multimodal import CLIPScore
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
)

from sdsearch.assets import asset_path
from sdsearch.errors import InputError
from sdsearch.labels.columns import check_target, label_columns
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.target import Target
from sdsearch_eval.data.sample import paint_prompts
from sdsearch_eval.metrics.scores import hash_scorers, load_scores
from sdsearch_eval.nets.clip_score import ClipScore, clip_files

CPU = torch.device("cpu")
CAPTIONS = ("a red house", "a lake at night", "green hills")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A whole CLIP of random weights, with its processor."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = CLIPTokenizer.from_pretrained(asset_path("tiny-sd") / "tokenizer")
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    vision |= {"num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        CLIPModel(
            CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
        ).save_pretrained(folder)
    crop = {"height": 32, "width": 32}
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=crop)
    CLIPProcessor(pictures, tokenizer).save_pretrained(folder)
    pictures.save_pretrained(folder)
    return folder


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


@pytest.mark.filterwarnings("ignore:`max_length` is ignored")
def test_the_clip_score_is_that_of_torchmetrics(clip, images):
    ours = ClipScore(clip, CPU)(images, CAPTIONS)

    def load():
        return CLIPModel.from_pretrained(clip), CLIPProcessor.from_pretrained(clip)

    theirs = CLIPScore(load)
    theirs.update(torch.from_numpy(images).permute(0, 3, 1, 2), list(CAPTIONS))
    assert ours.shape == (3,)
    # torchmetrics takes 0 where the mean is below it; so does each picture here.
    alone = []
    for image, caption in zip(images, CAPTIONS, strict=True):
        theirs.reset()
        theirs.update(torch.from_numpy(image).permute(2, 0, 1)[None], [caption])
        alone.append(float(theirs.compute()))
    assert ours == pytest.approx(alone, abs=1e-4)


def test_a_folder_without_a_clip_is_refused_by_what_it_lacks(tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"lacks model.safetensors, preprocessor_config.json"):
        clip_files(tmp_path)


CODE = """
def brightness(images, captions):
    return images.mean((1, 2, 3)) / 255

def words(images, captions):
    return [len(caption.split()) for caption in captions]

def broken(images, captions):
    raise RuntimeError("no licence for today")

def short(images, captions):
    return [1.0]
"""
POINTS = ("brightness", "words", "broken", "short")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An installed package with four scorers."""

    def install(version="1.0", code=CODE):
        (tmp_path / "my_scorers.py").write_text(code, encoding="utf-8")
        info = tmp_path / "my_scorers-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Name: my-scorers\nVersion: {version}\n", encoding="utf-8")
        lines = ["[sdsearch.metrics]", *(f"{name} = my_scorers:{name}" for name in POINTS)]
        lines += ["psnr_hole = my_scorers:words", "gone = my_scorers:gone"]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (info / "RECORD").write_text("my_scorers.py,,\n", encoding="utf-8")

    install()
    monkeypatch.syspath_prepend(tmp_path)
    return install


def score(images, *names):
    scores = load_scores(Protocol(scorers=names), CPU)
    return scores.of(images, paint_prompts(CAPTIONS, 64))


def test_a_scorer_of_an_installed_package_is_a_column_and_a_target(installed, images):
    found = score(images, "brightness", "words")
    assert found["brightness"] == pytest.approx(images.mean((1, 2, 3)) / 255)
    assert found["words"].tolist() == [3, 4, 2]
    protocol = Protocol(scorers=("brightness", "words"))
    assert {"brightness", "words"} <= label_columns(protocol)
    check_target(Target("brightness - words"), protocol)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken", "no licence for today"),
        ("short", r"each of 3 images, but returned \(1,\)"),
        ("gone", "importable"),
        ("bright", "did you mean 'brightness'"),
        ("psnr_hole", "name of its own"),
    ],
)
def test_a_scorer_that_does_not_work_is_named_with_its_own_message(installed, images, name, words):
    with pytest.raises(InputError, match=words):
        score(images, name)


def test_the_identity_of_a_scorer_is_its_version_and_its_code(installed):
    protocol = Protocol(scorers=("words",))
    first = hash_scorers(protocol)
    assert hash_scorers(protocol) == first
    installed(version="1.1")
    second = hash_scorers(protocol)
    installed(code=CODE.replace("len(caption.split())", "len(caption)"))
    assert len({first, second, hash_scorers(protocol)}) == 3
