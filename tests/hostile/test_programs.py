"""No image and no folder starts a program, whatever their names and contents say."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from tests.fakes import fake_teacher

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import sys
from contextlib import suppress
from pathlib import Path

from sdsearch.check import check_unet
from sdsearch.errors import InputError
from sdsearch.labels.protocol import Protocol
from sdsearch_eval.app.uploads import limit_uploads
from sdsearch_eval.data.captions import read_captions
from sdsearch_eval.data.listing import list_dataset
from sdsearch_eval.data.photos import open_picture
from sdsearch_eval.data.samples import load_samples
from PIL import Image

photos, pipeline = map(Path, sys.argv[1:])
started = []
STARTS = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty.")


def read_all():
    for file in sorted(photos.iterdir()):
        with suppress(InputError):
            open_picture(file)
    names = [case.name for case in list_dataset(photos).cases]
    for read in (
        lambda: read_captions(photos, names),
        lambda: load_samples(Protocol(dataset=str(photos), masks="box", resolution=64, samples=2)),
        lambda: check_unet(pipeline),
    ):
        with suppress(InputError):
            read()
    limit_uploads()
    for file in sorted(photos.iterdir()):  # as gradio opens what was uploaded
        with suppress(OSError), Image.open(file) as image:
            image.load()


def note(event, arguments):
    if event.startswith(STARTS):
        started.append((event, str(arguments)[:80]))


sys.addaudithook(note)
read_all()
print(len(started), started)
"""
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
ODD = {
    "a.png": EPS,
    "b.jpg": b"\xc5\xd0\xd3\xc6"
    + (30).to_bytes(4, "little")
    + len(EPS).to_bytes(4, "little")
    + EPS,
    "c.png": b"\xd7\xcd\xc6\x9a" + bytes(40),
    "d.tif": b"%PDF-1.4\n",
    "e.png": b"\x1c\x01\x5a\x00\x01\x00" + bytes(40),
    "f.webp": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>",
    "g.gif": b"\x00\x00\x01\xb3" + bytes(40),
    "; touch h;.png": b"no picture",
    "|touch i.png": b"no picture",
    "$(touch j).png": b"no picture",
    "-k.png": b"no picture",
    "metadata.jsonl": b'{"file_name": "|touch i.png", "text": "$(touch l)"}\n',
}


class Code:
    """A pickle that runs a command where it is loaded without care."""

    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.fixture
def odd(tmp_path: Path) -> tuple[Path, Path]:
    """Photos that are something else, and a pipeline with a pickle that runs code."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, data in ODD.items():
        (photos / name).write_bytes(data)
    pipeline = fake_teacher(tmp_path / "pipeline")
    (pipeline / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"a": Code()}, pipeline / "vae" / "diffusion_pytorch_model.bin")
    return photos, pipeline


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="such names are none there")
def test_no_program_starts_from_an_image_or_a_folder(odd, tmp_path):
    line = [sys.executable, "-c", SCRIPT, *map(str, odd)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["eval", "."])}
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2_000:]
    assert ended.stdout.splitlines()[-1] == "0 []"
    assert not list(tmp_path.rglob("ran"))
