"""The app of a study, served to a browser by a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sdsearch.study.requests import AppRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 120_000
"""Milliseconds that a page may take to answer."""


@contextmanager
def served(study: Path) -> Iterator[str]:
    """The address of a study's app, which ends with the block; its log lies in the study."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    request = study / "request.json"
    request.write_text(AppRequest(study=study, port=port).model_dump_json())
    line = [sys.executable, "-m", "sdsearch_eval", str(request)]
    environment = {**os.environ, "PYTHONPATH": "eval:."}
    with (study / "app.log").open("w") as log:
        server = subprocess.Popen(line, stdout=log, stderr=log, env=environment)
        try:
            for _ in range(600):
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert server.poll() is None, "the app has ended"
                    time.sleep(1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)
