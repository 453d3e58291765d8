from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sdsearch.errors import InputError
from sdsearch.labels.columns import label_columns
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.recovery import RecoveryRecipe
from sdsearch.unet.architecture import UNPRUNED
from sdsearch_eval.bench.bench import prepare_bench
from sdsearch_eval.bench.content import resolve_protocol
from sdsearch_eval.bench.evaluate import evaluate_architecture
from sdsearch_eval.data.photos import open_picture, square_image
from sdsearch_eval.metrics.references import (
    list_reference_files,
    make_references,
    measure_distances,
    read_gaussian,
)
from sdsearch_eval.nets.features import extract_features
from sdsearch_eval.sampling.generation import generate
from sdsearch_eval.scenes.scenes import render_scene, split_seed

NO_RECOVERY = RecoveryRecipe(steps=0)


def painting(**settings):
    """A protocol that paints four pictures from the captions of scenes in about a second."""
    told = {"samples": 4, "block_size": 2, "steps": 2, "feature_size": 32}
    return Protocol(task="text-to-image", **{**told, "recovery": NO_RECOVERY, **settings})


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        scene = render_scene(split_seed("val", number))
        Image.fromarray(scene.image).save(folder / f"{number}.png")
    return folder


def measure(protocol, teacher, folder):
    folder.mkdir(exist_ok=True)
    bench = prepare_bench(protocol, 0, teacher, folder / "features")
    label = evaluate_architecture(UNPRUNED, bench, folder / "rows", folder / "w.safetensors")
    assert label is not None
    assert label.failure is None, label.failure
    return bench, label


@pytest.mark.parametrize("settings", [{}, {"variations": 2}, {"references": "pictures"}])
def test_labels_of_painted_pictures_have_the_columns_that_are_promised(
    settings, teacher, pictures, tmp_path
):
    if "references" in settings:
        settings = {"references": str(pictures)}
    protocol = painting(**settings)
    _, label = measure(protocol, teacher, tmp_path)
    assert label.values.keys() == label_columns(protocol)
    assert "psnr_hole" not in label.values


def test_distances_from_statistics_are_those_from_the_pictures_themselves(
    teacher, pictures, tmp_path
):
    bench, label = measure(painting(references=str(pictures)), teacher, tmp_path / "a")
    pooled = bench.references.features.pooled.double().numpy()
    file = tmp_path / "statistics.npz"
    np.savez(file, mu=pooled.mean(0), sigma=np.cov(pooled, rowvar=False))
    protocol = painting(references=str(file))
    _, other = measure(protocol, teacher, tmp_path / "b")
    assert other.values.keys() == label_columns(protocol)
    assert "kid_efflite0" not in other.values
    expected = label.scalar("fd_efflite0")
    assert other.scalar("fd_efflite0") == pytest.approx(expected, rel=1e-9)


def test_a_compared_size_is_what_every_feature_sees(teacher, pictures, tmp_path):
    protocol = painting(references=str(pictures), compared_size=32, feature_size=64)
    bench, label = measure(protocol, teacher, tmp_path / "a")

    def see(images):
        tensor = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        return extract_features(bench.extractor, tensor, protocol.feature_size).pooled

    files = [open_picture(file) for file in sorted(pictures.iterdir())]
    references = bench.references.features.pooled
    assert torch.equal(references, see([square_image(file, 32) for file in files]))
    made = generate(teacher.student(UNPRUNED), teacher, bench.inputs, bench.samples, protocol)
    small = [np.asarray(Image.fromarray(one).resize((32, 32))) for one in made.composited]
    assert torch.allclose(bench.teacher_pooled, see(small), atol=1e-5)
    assert not torch.allclose(bench.teacher_pooled, see(made.composited), atol=1e-2)
    assert label.scalar("fd_vs_teacher") == pytest.approx(0, abs=1e-6)
    whole = protocol.model_copy(update={"compared_size": 0})
    other = measure(whole, teacher, tmp_path / "b")[1]
    assert label.scalar("fd_efflite0") != pytest.approx(other.scalar("fd_efflite0"), rel=0.01)
    assert label.protocol_key != other.protocol_key


def test_prompts_of_a_file_are_painted_and_compared_with_the_photos(teacher, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("a red house\n\na lake at night\ngreen hills\npine trees\n", encoding="utf-8")
    protocol = painting(prompts=str(file))
    bench, label = measure(protocol, teacher, tmp_path)
    captions = [sample.caption for sample in bench.samples]
    assert captions == ["a red house", "a lake at night", "green hills", "pine trees"]
    assert label.provenance["reference"] == "pictures"
    assert bench.references.features.pooled.shape[0] == 4


def test_the_name_of_a_label_follows_the_words_and_not_the_place_of_their_file(tmp_path):
    keys = []
    for folder, text in (
        ("a", "a house\nb\nc\nd\n"),
        ("b", "a house\nb\nc\nd\n"),
        ("c", "x\n" * 4),
    ):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / f"{folder}.txt"
        file.write_text(text, encoding="utf-8")
        keys.append(resolve_protocol(painting(prompts=str(file))).key)
    assert keys[0] == keys[1] != keys[2]


def test_statistics_of_another_extractor_are_refused_with_both_sizes(tmp_path):
    file = tmp_path / "inception.npz"
    np.savez(file, mu=np.zeros(2048), sigma=np.eye(2048))
    with pytest.raises(InputError, match=r"1280 features.*\(2048,\)"):
        read_gaussian(file, 1280)


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_what_is_no_archive_of_statistics_is_refused(tmp_path, content):
    file = tmp_path / "odd.npz"
    file.write_bytes(content)
    with pytest.raises(InputError, match="mu and sigma"):
        read_gaussian(file, 4)


def test_statistics_that_would_run_code_are_not_loaded(tmp_path):
    file = tmp_path / "pickled.npz"
    np.savez(file, mu=np.array([print], dtype=object), sigma=np.eye(1))
    with pytest.raises(InputError, match="mu and sigma"):
        read_gaussian(file, 1)


def test_references_that_are_not_there_are_named(tmp_path):
    for name in ("no-folder", "none.npz"):
        with pytest.raises(InputError, match=name):
            list_reference_files(painting(references=str(tmp_path / name)))


def test_own_originals_are_left_out_as_pairs_and_others_are_not():
    rng = np.random.default_rng(0)
    ours = rng.normal(size=(12, 3))
    cached = {"pooled": torch.from_numpy(rng.normal(size=(12, 3)))}
    own = painting(samples=12)
    paired = measure_distances(ours, make_references(own, cached), own, 0)
    varied = own.model_copy(update={"variations": 2})
    apart = measure_distances(ours, make_references(varied, cached), varied, 0)
    assert paired["fd_efflite0"].value == apart["fd_efflite0"].value
    assert paired["kid_efflite0"].value != apart["kid_efflite0"].value


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"samples": 5, "variations": 2}, "variations"),
        ({"masks": "/some/folder"}, "no masks"),
        ({"lpips": "alex"}, "lpips"),
        ({"task": "inpaint", "prompts": "a.txt"}, "prompts is for"),
        ({"task": "inpaint", "references": "b.npz"}, "references is for"),
        ({"task": "inpaint", "compared_size": 256}, "compared_size is for"),
        ({"scorers": ("a", "a")}, "once each"),
    ],
)
def test_settings_that_do_not_fit_the_task_are_refused_by_name(settings, words):
    with pytest.raises(ValueError, match=words):
        Protocol(**{"task": "text-to-image", **settings})


def test_a_protocol_that_inpaints_keeps_the_key_that_it_had():
    before = Protocol().model_dump(mode="json")
    later = {"task", "prompts", "references", "variations", "clip_score", "scorers"}
    assert not (later | {"compared_size"}) & {*before}
