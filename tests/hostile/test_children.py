"""A process that a command started never outlives it, however the command ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

STARTER = """
import subprocess, sys
from sdsearch.harness import harness_environment
line = [sys.executable, "-m", "sdsearch_eval", "-"]
child = subprocess.Popen(line, env=harness_environment())  # reads its request from our input
print(child.pid, flush=True)
child.wait()
"""
SECONDS = 60
"""A machine at work starts Python slowly; the child itself looks every second."""


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_the_harness_ends_with_the_process_that_started_it(name):
    pipe = subprocess.PIPE  # whose other end the child waits for: closed, it would end with that
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], stdin=pipe, stdout=pipe, text=True
    ) as starter:
        try:
            child = int(starter.stdout.readline())
            wait_for(lambda: psutil.Process(child).num_threads() > 1)
            assert not has_ended(child)
            starter.send_signal(getattr(signal, name))
            wait_for(lambda: has_ended(child))
        finally:
            starter.kill()


def wait_for(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.1)
