"""What the app takes from a page: images of a few formats and a bounded size, for a short while."""

from __future__ import annotations

import stat
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from sdsearch_eval.data import known_formats

if TYPE_CHECKING:
    from collections.abc import Callable

    import gradio

LARGEST_UPLOAD = 40_000_000
"""Pixels of an uploaded image; its header says them, so that no more is decoded."""
LARGEST_FILE = 30_000_000
"""Bytes of an uploaded file."""
LARGEST_FOLDER = 600_000_000
MOST_FILES = 64
"""In the folder of uploads and results, of which the oldest go first."""
MOST_LAYERS = 4
"""Of an edited image; the page's editor makes one."""
MOST_EDITS = 8
"""Edited images that are held until they are painted."""


def limit_uploads() -> None:
    """Have this process decode no image that is larger than it should be asked for.

    Nor any of a format that starts another program, whatever its name says. Photos of the study
    have a limit of their own (`data.open_picture`).
    """
    known = known_formats()
    Image.ID[:] = [kind for kind in Image.ID if kind in known]
    Image.MAX_IMAGE_PIXELS = LARGEST_UPLOAD // 2  # Pillow warns there, and refuses twice as much


def trim_uploads(folder: Path) -> None:
    """Delete the oldest files of a folder beyond what is kept of them, at any depth."""
    files = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # others delete here too
            said = path.lstat()
            if stat.S_ISREG(said.st_mode):
                files.append((said.st_mtime, said.st_size, path))
    size = 0
    for number, (_, bytes_held, path) in enumerate(sorted(files, reverse=True), start=1):
        size += bytes_held
        if number > MOST_FILES or size > LARGEST_FOLDER:
            path.unlink(missing_ok=True)


def make_editor(**options: Any) -> gradio.ImageEditor:
    """Gradio's editor of images, which holds no more of them than there are to be painted.

    Its methods are replaced: for a class of one's own gradio would write a file beside its code.
    """
    import gradio as gr

    editor = gr.ImageEditor(**options)
    vars(editor).update(accept_blobs=_bound_blobs(editor), preprocess=_bound_images(editor))
    return editor


def _bound_blobs(editor: gradio.ImageEditor) -> Callable[[Any], None]:
    """Take a part of an edited image; which layer it is, is a number that anybody may send."""
    take, numbers = editor.accept_blobs, range(MOST_LAYERS)

    @wraps(take)
    def take_few(data: Any) -> None:
        if data.data.get("index") not in (None, "", "null", *numbers, *map(str, numbers)):
            raise _refusal(f"an image has at most {MOST_LAYERS} layers")
        take(data)
        while len(editor.blob_storage) > MOST_EDITS:
            editor.blob_storage.pop(next(iter(editor.blob_storage)))

    return take_few


def _bound_images(editor: gradio.ImageEditor) -> Callable[[Any], Any]:
    """The images that were sent; their files are deleted once they are read."""
    read = editor.preprocess

    @wraps(read)
    def read_bounded(payload: Any) -> Any:
        if payload is None:
            return read(payload)
        try:
            if len(payload.layers) > MOST_LAYERS:
                raise _refusal(f"an image has at most {MOST_LAYERS} layers")
            return read(payload)
        except Image.DecompressionBombError:
            most = LARGEST_UPLOAD // 1_000_000
            raise _refusal(f"an image may have {most} megapixels; scale yours down") from None
        except OSError:  # so Pillow says that it knows no such format
            raise _refusal("this image cannot be read; save it as PNG or JPEG") from None
        finally:
            for sent in (payload.background, *payload.layers, payload.composite):
                _delete(sent, Path(editor.GRADIO_CACHE))

    return read_bounded


def _delete(sent: Any, uploads: Path) -> None:
    """Delete a file that was uploaded; no other, whatever path was sent."""
    if sent is not None and uploads.resolve() in Path(sent.path).resolve().parents:
        Path(sent.path).unlink(missing_ok=True)


def _refusal(said: str) -> Exception:
    import gradio as gr

    return gr.Error(said, print_exception=False)
