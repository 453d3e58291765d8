from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image
from typer.testing import CliRunner

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.cli.compare import repeat_options
from sdsearch.cli.main import app
from sdsearch.errors import InputError
from sdsearch.labels.costs import read_costs
from sdsearch.study.requests import InpaintRequest
from sdsearch_eval.data.tasks import read_tasks
from sdsearch_eval.jobs.workspace import open_console
from sdsearch_eval.pictures.pipelines import load_pipeline
from sdsearch_eval.pictures.side_by_side import distinct_names, paint_side_by_side
from sdsearch_eval.sampling.sampling import prepare_inputs
from sdsearch_eval.scenes.scenes import render_scene, split_seed
from sdsearch_eval.world import World
from tests.eval.desk import ask
from tests.eval.sampling.test_sampling import run_stock


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "lake.png"
    Image.fromarray(render_scene(split_seed("test", 3)).image).save(path)
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A stock folder of 4 input channels and another resolution, with random weights."""
    folder = tmp_path_factory.mktemp("other") / "text-to-image"
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(asset_path(TINY_TEACHER))
    config = {**pipeline.unet.config, "in_channels": 4, "sample_size": 8}
    pipeline.unet = type(pipeline.unet).from_config(config)
    pipeline.save_pretrained(folder)
    return folder


def request(picture, out, **changes):
    asked = {
        "pipelines": ("tiny",),
        "images": (picture,),
        "masks": ("box:16,16,32,32",),
        "prompts": ("a red house by a lake",),
        "seeds": (0,),
        "steps": 3,
        "guidance": 1.0,
        "scheduler": "ddim",
        "mask_convention": "diffusers",
        "differences": False,
        "out": out,
    }
    return InpaintRequest(**{**asked, **changes})


def paint(wanted):
    return paint_side_by_side(wanted, torch.device("cpu"), open_console(World()))


def test_without_images_the_prompts_alone_are_painted_by_any_pipeline(other, tmp_path):
    out = tmp_path / "words.png"
    asked = {"images": (), "masks": (), "prompts": ("a lake", "a house"), "steps": 2}
    first, second = paint(request(None, out, pipelines=("tiny", str(other)), **asked))
    assert [sample.caption for sample in first.samples] == ["a lake", "a house"]
    assert [image.shape for image in first.composited] == [(64, 64, 3)] * 2
    assert [image.shape for image in second.composited] == [(32, 32, 3)] * 2
    described = json.loads(out.with_suffix(".json").read_text())
    assert [row["caption"] for row in described["rows"]] == ["a lake", "a house"]
    assert [column["values"] for column in described["columns"]] == [{}, {}]
    costs = read_costs(out.with_suffix(".json"))
    assert [cost.picture.resolution for cost in costs] == [64, 32]
    assert all(cost.picture.seconds * 1e3 > cost.latency_ms.median for cost in costs)


@pytest.mark.parametrize(
    "lacking", [{"images": ()}, {"masks": ()}, {"images": (), "masks": (), "prompts": ()}]
)
def test_a_request_without_something_to_paint_is_refused(lacking, picture, tmp_path):
    with pytest.raises(ValueError, match="images"):
        request(picture, tmp_path / "grid.png", **lacking)


def test_a_column_equals_the_stock_pipeline_before_paste_back(picture, tmp_path):
    (column,) = paint(request(picture, tmp_path / "grid.png", seeds=(7,)))
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        asset_path(TINY_TEACHER), dtype=torch.float32
    )
    (task,) = read_tasks([picture], ["box:16,16,32,32"], ["a red house by a lake"], 64)
    inputs = prepare_inputs(load_pipeline("tiny", torch.device("cpu")).components, [task], 7)
    stock = run_stock(pipeline, task, inputs, steps=3, guidance=1.0)
    assert np.abs(stock - column.raw[0].astype(float)).max() <= 2
    keep = task.mask == 0
    assert (column.composited[0][keep] == task.image[keep]).all()
    assert (column.raw[0][keep] != task.image[keep]).any()


def test_pipelines_of_any_size_paint_into_the_same_pixels_around_a_hole(other, tmp_path):
    Image.effect_noise((300, 200), 60).save(tmp_path / "wide.png")
    mask = Image.new("L", (300, 200))
    mask.paste(255, (10, 20, 50, 60))
    mask.save(tmp_path / "hole.png")
    asked = {"masks": (str(tmp_path / "hole.png"),), "steps": 1, "differences": True}
    out = tmp_path / "grid.png"
    columns = paint(
        request(tmp_path / "wide.png", out, pipelines=("tiny", str(other)), crop="hole", **asked)
    )
    with Image.open(tmp_path / "wide.png") as photo:
        pixels = np.asarray(photo.convert("RGB"))
    for column in columns:
        (sample,) = column.samples
        left, upper, right, lower = sample.cutout.box
        assert (left, upper, right, lower) == (0, 0, 92, 92)
        assert np.array_equal(sample.original, pixels[upper:lower, left:right])
        assert column.composited[0].shape == (92, 92, 3)
        assert np.array_equal(column.composited[0][~sample.hole], sample.original[~sample.hole])
    said = json.loads(out.with_suffix(".json").read_text())
    assert all(len(column["values"]["psnr_hole"]) == 1 for column in said["columns"])


@pytest.mark.slow
def test_pipelines_of_other_channels_and_sizes_share_one_picture(picture, other, tmp_path):
    out = tmp_path / "grid.webp"
    columns = paint(
        request(
            picture, out, pipelines=("tiny", str(other), "tiny"), seeds=(0, 1), differences=True
        )
    )
    assert [column.size for column in columns] == [64, 32, 64]
    assert columns[1].raw.shape == (2, 32, 32, 3)
    assert (columns[0].raw == columns[2].raw).all(), "one resolution, one noise"
    assert (columns[0].raw[0] != columns[0].raw[1]).any(), "seeds differ"
    # The hole is where the box says at either resolution.
    assert columns[1].samples[0].mask[8:24, 8:24].all()
    assert columns[1].samples[0].mask.sum() == 255 * 16 * 16
    said = json.loads(out.with_suffix(".json").read_text())
    assert [row["name"] for row in said["rows"]] == ["lake.png, seed 0", "lake.png, seed 1"]
    names = [column["name"] for column in said["columns"]]
    assert names == ["tiny teacher (1)", "text-to-image", "tiny teacher (2)"]
    assert all(len(column["values"]["psnr_hole"]) == 2 for column in said["columns"])
    assert said["columns"][0]["params"] == 3_279_428
    with Image.open(out) as grid:
        assert grid.format == "WEBP"
        assert grid.width > 7 * 160


def test_a_prompt_longer_than_the_tokenizer_takes_is_said_once(picture, tmp_path, capsys):
    prompts = ("a red house by a lake " * 9,)
    out = tmp_path / "grid.png"
    paint(request(picture, out, pipelines=("tiny", "tiny"), prompts=prompts, seeds=(0, 1), steps=1))
    assert capsys.readouterr().err.count("1 of 1 captions are longer than the 32 tokens") == 1


def test_the_command_takes_lists_and_writes_the_grid(picture, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("sdsearch.stages.compare.run_harness", told.append)
    line = ["compare", "--pipelines", "tiny", "B", "C", "--image", str(picture)]
    line += ["--mask", "box:16,16,32,32", "--prompt", "a lake", "--seeds", "0", "1"]
    done = CliRunner().invoke(app, [*line, "--steps", "3", "--out", str(tmp_path / "g.png")])
    assert done.exit_code == 0, done.output
    (request,) = told
    assert request == InpaintRequest(
        pipelines=("tiny", "B", "C"),
        images=(picture,),
        masks=("box:16,16,32,32",),
        prompts=("a lake",),
        seeds=(0, 1),
        steps=3,
        out=tmp_path / "g.png",
    )


def test_the_harness_does_what_a_request_says(picture, tmp_path, capsys):
    out = tmp_path / "g.png"
    asked = InpaintRequest(
        pipelines=("tiny",), images=(picture,), masks=("auto:thick",), steps=2, out=out
    )
    assert ask(asked, tmp_path) == 0
    assert out.is_file()
    assert "comparison:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": ("box:1,2,3",)}, "box must be box:x,y,w,h"),
        ({"masks": ("box:40,40,32,32",)}, "inside of the 64 x 64 image"),
        ({"masks": ("auto:huge",)}, "auto:KIND must have one of"),
        ({"masks": ("nowhere.png",)}, "is no file"),
        ({"masks": ("box:0,0,64,64",)}, "255 marks what is repainted"),
        ({"masks": ("box:1,1,9,9", "box:1,1,9,9")}, "once for each of 1 images, but 2"),
        ({"prompts": ("a", "b", "c")}, "prompts must be given once"),
        ({"pipelines": ("/no/such/folder",)}, "folder"),
    ],
)
def test_unfit_requests_say_what_is_wrong_and_write_nothing(picture, tmp_path, changes, message):
    out = tmp_path / "grid.png"
    with pytest.raises(InputError, match=message):
        paint(request(picture, out, **changes))
    assert not out.exists()


def test_the_picture_must_be_png_or_webp(picture, tmp_path):
    with pytest.raises(InputError, match=r"must end in \.png or \.webp"):
        paint(request(picture, tmp_path / "grid.jpg"))


def test_a_mask_file_is_cropped_as_its_image_is(tmp_path):
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[10:30, 50:60] = 200
    hole = (wide[..., 0] > 0).astype(np.uint8) * 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(hole).save(tmp_path / "hole.png")
    (task,) = read_tasks([tmp_path / "wide.png"], [str(tmp_path / "hole.png")], [], 40)
    assert task.mask[10:30, 30:40].all()
    assert (task.image[task.mask == 255] > 150).mean() > 0.9


def test_a_folder_gives_its_captions_and_masks_by_name(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    for folder in (images, masks):
        folder.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (64, 64), "red").save(images / f"{name}.png")
        mask = np.zeros((64, 64), np.uint8)
        mask[:8] = 255
        Image.fromarray(mask).save(masks / f"{name}.png")
    (images / "metadata.jsonl").write_text('{"file_name": "b.png", "text": "<b>a bay</b>"}\n')
    tasks = read_tasks([images], [str(masks)], [], 64)
    assert [(task.name, task.caption) for task in tasks] == [
        ("a.png", ""),
        ("b.png", "<b>a bay</b>"),
    ]
    with pytest.raises(InputError, match="distinct names"):
        read_tasks([images, images / "a.png"], ["box:0,0,8,8"], [], 64)


def test_list_options_are_spread_over_their_values_alone():
    line = ["study", "--seeds", "0", "1", "--out", "x.png", "--prompt", "a b", "-"]
    assert repeat_options(line, ("--seeds", "--prompt")) == [
        *["study", "--seeds", "0", "--seeds", "1", "--out", "x.png"],
        *["--prompt", "a b", "--prompt", "-"],
    ]


def test_equal_names_are_numbered():
    assert distinct_names(["a", "b", "a"]) == ["a (1)", "b", "a (2)"]
