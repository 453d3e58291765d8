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

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.errors import InputError
from sdsearch.labels.columns import check_target, label_columns
from sdsearch.labels.content import Content, ResolvedProtocol, is_read_first
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.target import Target
from sdsearch.unet.architecture import UNPRUNED
from sdsearch_eval.bench.bench import prepare_bench
from sdsearch_eval.bench.evaluate import evaluate_architecture
from sdsearch_eval.data.sample import paint_prompts
from sdsearch_eval.metrics.scores import hash_scorers, load_scores
from sdsearch_eval.nets.clip_score import ClipScore, _Processor, _Towers, clip_files
from tests.eval.pretended import GPU, pretended_gpu

CPU = torch.device("cpu")
CAPTIONS = ("a red house", "a lake at night", "green hills")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A whole CLIP of random weights, with its processor."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = CLIPTokenizer.from_pretrained(asset_path(TINY_TEACHER) / "tokenizer")
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


def cosines(folder, images, captions):
    """100 times the cosines, by transformers alone, negative ones too."""
    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    inputs = processor(
        text=list(captions),
        images=list(torch.from_numpy(images).permute(0, 3, 1, 2)),
        return_tensors="pt",
        padding="max_length",
        truncation=True,
        max_length=32,
    )
    with torch.no_grad():
        found = model(**inputs)
    return 100 * (found.image_embeds * found.text_embeds).sum(1).double().numpy()


def test_the_clip_score_is_the_cosine_of_the_embeddings(clip, images):
    score = ClipScore(clip, CPU)
    found = score(images, CAPTIONS)
    expected = cosines(clip, images, CAPTIONS)
    assert found == pytest.approx(expected.clip(0), abs=1e-3)
    assert (expected > 0).any()


def test_the_clip_score_is_computed_on_the_gpu(clip, images):
    with pretended_gpu():
        score = ClipScore(clip, GPU)
        found = score(images, CAPTIONS)
        places = {one.device for one in (score._metric.score, *score._metric.model.parameters())}
    assert places == {GPU}
    assert found == pytest.approx(ClipScore(clip, CPU)(images, CAPTIONS), abs=1e-3)


def test_the_end_of_a_long_caption_is_cut_and_not_the_mark_of_its_end(clip, images):
    long = ["a red house by a lake " * 20] * 3
    expected = cosines(clip, images, long).clip(0)
    assert ClipScore(clip, CPU)(images, long) == pytest.approx(expected, abs=1e-3)


def test_the_clip_score_of_a_set_is_that_of_torchmetrics(clip, images):
    metric = CLIPScore(lambda: (_Towers(clip), _Processor(clip, 32)))
    metric.update(torch.from_numpy(images).permute(0, 3, 1, 2), list(CAPTIONS))
    expected = max(0.0, cosines(clip, images, CAPTIONS).mean())
    assert float(metric.compute()) == pytest.approx(expected, abs=1e-3)


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


def test_a_scorer_that_fails_stops_the_labelling_and_fails_no_architecture(
    installed, teacher, small, tmp_path
):
    bench = prepare_bench(
        small.model_copy(update={"scorers": ("broken",)}), 0, teacher, tmp_path / "features"
    )
    with pytest.raises(InputError, match="no licence for today"):
        evaluate_architecture(UNPRUNED, bench, tmp_path / "rows", tmp_path / "w.safetensors")


def test_a_study_with_scorers_alone_is_read_before_its_labels_have_a_name():
    protocol = Protocol(scorers=("words",))
    assert is_read_first(protocol)
    assert not is_read_first(Protocol())
    unread = ResolvedProtocol(protocol=protocol)
    assert not unread.is_read
    read = ResolvedProtocol(protocol=protocol, content=Content(scorers="5f0c"))
    assert read.is_read
    assert read.key != unread.key


def test_the_identity_of_a_scorer_is_its_version_and_its_code(installed):
    protocol = Protocol(scorers=("words",))
    first = hash_scorers(protocol)
    assert hash_scorers(protocol) == first
    installed(version="1.1")
    second = hash_scorers(protocol)
    installed(code=CODE.replace("len(caption.split())", "len(caption)"))
    assert len({first, second, hash_scorers(protocol)}) == 3
