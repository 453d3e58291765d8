"""What the app is sent: bounded in size and number, told by content, and never shown as a page."""

from __future__ import annotations

import http.client
import inspect
import json
import os
import subprocess
import time
import zlib
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from sdsearch.study.requests import AppRequest
from sdsearch_eval.app import serving, uploads
from tests.browser.serving import served
from tests.eval.app.test_serving import ADDRESS, chunk
from tests.fakes import make_study

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


@pytest.fixture
def pillow(monkeypatch):
    """Pillow as it is, whatever a test limits it to."""
    Image.init()  # what it registers later would go with the copy
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)


@pytest.fixture
def client(tmp_path):
    async def answer(_):
        return PlainTextResponse("here", media_type="text/html")

    routes = [Route("/{path:path}", answer, methods=["GET", "POST"])]
    guards = serving.guards("127.0.0.1", tmp_path / "uploads")
    return TestClient(Starlette(routes=routes, middleware=guards), base_url=ADDRESS)


def test_an_upload_that_would_start_a_program_is_no_image(pillow, tmp_path, monkeypatch):
    file = tmp_path / "a.png"
    file.write_bytes(EPS)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program starts"))
    uploads.limit_uploads()
    with pytest.raises(OSError, match="cannot identify"), Image.open(file) as image:
        image.load()  # as gradio does
    Image.new("RGB", (8, 8)).save(file)
    with Image.open(file) as image:
        assert image.size == (8, 8)


@pytest.mark.parametrize("route", ["process_recording", "vibe-edit", "stream/1", "anything"])
def test_what_the_pages_do_not_send_is_refused(client, route):
    assert client.post(f"/gradio_api/{route}").status_code == 404


@pytest.mark.parametrize("route", ["upload", "component_server", "queue/join", "call/paint"])
def test_what_the_pages_send_is_answered(client, route):
    assert client.post(f"/gradio_api/{route}", content=b"a").text == "here"


def test_a_request_says_its_size_and_holds_one_file_of_30_megabytes_at_most(client):
    for size in ("31000001", "9" * 5_000):
        refused = client.post("/gradio_api/upload", headers={"content-length": size})
        assert refused.status_code == 413
    assert client.post("/gradio_api/upload", content=iter([b"a"])).status_code == 413


def test_what_was_sent_comes_back_as_a_download_of_its_stated_type(client):
    for path in ("/gradio_api/file=/tmp/a.svg", "/gradio_api/file/tmp/a.html"):
        answer = client.get(path)
        assert answer.headers["content-disposition"] == "attachment"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "content-disposition" not in client.get("/").headers


def test_the_oldest_uploads_go_where_there_are_many(client, tmp_path):
    for number in range(uploads.MOST_FILES + 9):
        file = tmp_path / "uploads" / str(number) / "a.png"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (number, number))
    client.post("/gradio_api/upload", content=b"a")
    kept = sorted(int(file.parent.name) for file in tmp_path.rglob("a.png"))
    assert kept == list(range(9, uploads.MOST_FILES + 9))


def test_the_oldest_uploads_go_where_they_are_large(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "LARGEST_FOLDER", 25)
    for number in range(4):
        (tmp_path / str(number)).write_bytes(bytes(10))
        os.utime(tmp_path / str(number), (number, number))
    uploads.trim_uploads(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["2", "3"]


@pytest.fixture
def editor(pillow, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    uploads.limit_uploads()
    return uploads.make_editor(type="pil", image_mode="RGBA", layers=False)


def blob(name: str, index: object = None) -> Any:
    kind = "background" if index is None else "layer"
    return SimpleNamespace(data={"type": kind, "index": index, "id": name}, files=[("a", b"1")])


@pytest.mark.slow
@pytest.mark.parametrize("index", ["1000000000", "-1", "4", "1e9", 10**9])
def test_the_number_of_a_layer_costs_nothing(editor, index):
    import gradio as gr

    with pytest.raises(gr.Error, match="at most 4 layers"):
        editor.accept_blobs(blob("a", index))
    assert editor.blob_storage == {}
    editor.accept_blobs(blob("a", "0"))
    assert editor.blob_storage["a"].layers == [b"1"]


@pytest.mark.slow
def test_few_edits_are_held_and_gradio_finds_the_way_to_send_them(editor):
    for number in range(40):
        editor.accept_blobs(blob(str(number)))
    assert list(editor.blob_storage) == [str(number) for number in range(32, 40)]
    assert editor.accept_blobs._is_server_fn
    assert not list(Path(uploads.__file__).parent.glob("*.pyi"))


@pytest.mark.slow
def test_an_upload_is_gone_once_it_is_read(editor, tmp_path):
    from gradio.components.image_editor import EditorData
    from gradio.data_classes import FileData

    def send(name: str, data: bytes | None = None) -> EditorData:
        file = tmp_path / name
        if data is None:
            Image.new("RGB", (8, 8), (9, 9, 9)).save(file)
        else:
            file.write_bytes(data)
        return EditorData(background=FileData(path=str(file)), layers=[], composite=None)

    import gradio as gr

    read = editor.preprocess(send("uploads/a.png"))
    assert read["background"].size == (8, 8)
    with pytest.raises(gr.Error, match="save it as PNG or JPEG"):
        editor.preprocess(send("uploads/b.png", EPS))
    assert os.listdir(tmp_path / "uploads") == []
    editor.preprocess(send("own.png"))
    assert (tmp_path / "own.png").exists()  # what was not sent stays


@pytest.mark.slow
def test_gradios_protections_are_as_gradio_has_them(tmp_path, monkeypatch):
    import gradio as gr

    asked: dict[str, Any] = {}
    page = SimpleNamespace(queue=lambda **_: None, launch=lambda **said: asked.update(said))
    monkeypatch.setattr(serving, "build_app", lambda *_: page)
    monkeypatch.setattr(serving, "limit_uploads", lambda: None)
    monkeypatch.setattr(serving, "reach_locally", lambda: None)
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")
    study = make_study(tmp_path / "study")
    serving.serve_app(AppRequest(study=study.root))
    defaults = {
        name: one.default for name, one in inspect.signature(gr.Blocks.launch).parameters.items()
    }
    ours = {"server_name", "server_port", "share", "show_error", "max_file_size", "footer_links"}
    assert asked.keys() == ours | {"allowed_paths", "auth", "app_kwargs"}
    assert asked["share"] is False
    assert asked["allowed_paths"] == [str(study.root / "app")]
    assert asked["max_file_size"] == uploads.LARGEST_FILE
    assert {name: defaults[name] for name in PROTECTIVE} == PROTECTIVE


PROTECTIVE = {
    "strict_cors": True,
    "ssl_verify": True,
    "enable_monitoring": None,
    "mcp_server": None,
    "blocked_paths": None,
    "share": None,
    "debug": False,
}
"""Of gradio's launch, which the app leaves as they are."""


def large_png(side: int) -> bytes:
    """A whole PNG of one colour, of a hundredth of the bytes that it decodes to."""
    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    packer = zlib.compressobj()
    row = bytes(1 + 3 * side)
    packed = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    chunks = (chunk(b"IHDR", header), chunk(b"IDAT", packed), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="peaks are not told here")
def test_81_megapixels_cost_the_app_no_memory(tmp_path):
    study = make_study(tmp_path / "study", "[protocol]\nsamples = 2\nsteps = 1\n")
    with served(study.root) as address:
        host = urlsplit(address).netloc
        app = next(one for one in psutil.Process().children() if "sdsearch_eval" in one.cmdline())
        post(host, "/gradio_api/call/paint", {"data": paint(None)})
        time.sleep(2)
        idle = app.memory_info().rss
        with open(f"/proc/{app.pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # the peak is counted anew
        (path,) = upload(host, large_png(9_000))
        said = post(host, "/gradio_api/call/paint", {"data": paint(path)})
        told = get(host, f"/gradio_api/call/paint/{said['event_id']}")
        assert "event: error" in told
        peak = peak_memory(app.pid)
        assert peak - idle < 300_000_000
        assert not os.path.exists(path)


def peak_memory(pid: int) -> int:
    """The most bytes that a process has held since they are counted."""
    with open(f"/proc/{pid}/status", encoding="ascii") as said:
        line = next(line for line in said if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def paint(path: str | None) -> list[Any]:
    """What the page of an inpainting study sends."""
    file = path and {"path": path, "meta": {"_type": "gradio.FileData"}}
    image = {"background": file, "layers": [], "composite": None}
    return [image, "a lake", ["teacher"], 1, 1.0, 0]


def post(host: str, path: str, said: Any) -> Any:
    kind = {"content-type": "application/json"}
    return json.loads(ask(host, "POST", path, json.dumps(said).encode(), kind))


def get(host: str, path: str) -> str:
    return ask(host, "GET", path)


def upload(host: str, data: bytes) -> list[str]:
    head = b'--b\r\ncontent-disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    kind = {"content-type": "multipart/form-data; boundary=b"}
    return json.loads(ask(host, "POST", "/gradio_api/upload", head + data + b"\r\n--b--\r\n", kind))


def ask(host: str, method: str, path: str, body: bytes | None = None, headers: Any = None) -> str:
    with closing(http.client.HTTPConnection(host, timeout=300)) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read().decode()
    assert answer.status == 200, text
    return text
