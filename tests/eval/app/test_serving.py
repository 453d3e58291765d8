"""The app answers its own pages alone, and decodes nothing that is too large."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from sdsearch_eval.app.serving import choose_password, guards
from sdsearch_eval.app.uploads import LARGEST_UPLOAD, limit_uploads

ADDRESS = "http://127.0.0.1:7860"


def served(host: str, uploads: Path = Path("none")) -> TestClient:
    async def answer(_):
        return PlainTextResponse("here")

    routes = [Route("/{path:path}", answer, methods=["GET", "POST"])]
    middleware = guards(host, uploads)
    return TestClient(Starlette(routes=routes, middleware=middleware), base_url=ADDRESS)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "localhost:9999"])
def test_it_answers_this_machine_by_its_names_also_through_a_tunnel(host):
    answer = served("127.0.0.1").post(
        "/gradio_api/queue/join", headers={"host": host, "origin": f"http://{host}"}
    )
    assert answer.text == "here"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example"])
def test_another_name_of_this_machine_is_refused(host):
    assert served("127.0.0.1").get("/", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:1", "null", ""])
def test_what_another_page_sends_is_refused(host, origin):
    answer = served(host).post("/gradio_api/queue/join", headers={"origin": origin})
    assert answer.status_code == 403
    assert f"of 127.0.0.1:7860, but was asked by one of {origin}; open it" in answer.text


def test_where_other_machines_may_reach_it_there_is_a_password_that_is_said(capsys):
    assert choose_password("127.0.0.1") is None
    (user, password), (_, other) = choose_password("0.0.0.0"), choose_password("192.168.0.4")
    said = capsys.readouterr().err
    assert user in said
    assert password in said
    assert password != other
    assert len(password) >= 16
    assert served("0.0.0.0").get("/", headers={"host": "workstation:7860"}).text == "here"


def test_an_image_of_too_many_pixels_is_refused_by_its_header(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    Image.init()  # what it registers later would go with the copy
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    limit_uploads()
    file = tmp_path / "large.png"
    write_header(file, 9000, 9000)
    assert LARGEST_UPLOAD < 9000 * 9000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(file)


def write_header(file, width, height):
    """A PNG that has said its size and holds no pixel."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 9) + b"IDAT")


def chunk(kind, data):
    """A part of a PNG."""
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
