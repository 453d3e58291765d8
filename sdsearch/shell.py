"""How a command meets its shell: streams that take any text, signals that end it, its last line."""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sdsearch.errors import HarnessError, InputError, WorkError
from sdsearch.files import FolderGoneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STOPPED = 130
"""The exit code of what Ctrl-C ended, as shells have it: 128 and the signal's number."""
_ENDING = [getattr(signal, x) for x in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, x)]
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Controls but tab and newline, and what turns the direction of writing or breaks a line."""
_NEXT_STEPS = {
    errno.ENOSPC: "free some space, then run again",
    errno.EDQUOT: "free some of your quota, then run again",
    errno.EACCES: "it must be yours to read and write",
    errno.EPERM: "it must be yours to read and write",
    errno.EROFS: "choose a folder on a disk that can be written",
    errno.ENAMETOOLONG: "choose a shorter path",
}


def run_command(command: Callable[[], int]) -> int:
    """Run a command to its exit code; whatever else ends it is one line on standard error.

    Returns:
        What the command returns. 2 after wrong input; 1 after failed work, where a file cannot be
        read or written, and after a fault of ours, whose traceback goes to a file; `STOPPED` after
        Ctrl-C. Output that nobody reads any more, as behind `| head`, ends it silently with 1.
    """
    try:
        code = command()
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        _tell("stopped; finished work is kept, run again to continue")
        return STOPPED
    except InputError as error:
        _tell(f"error: {error}")
        return 2
    except HarnessError as error:
        if not error.has_been_told:
            _tell(f"failed: {error}")
        return error.code if error.code in (2, STOPPED) else 1
    except BrokenPipeError:
        return 1
    except (WorkError, OSError) as error:
        _tell(f"failed: {describe_error(error)}")
        return 1
    except Exception as error:  # noqa: BLE001 (the last resort of every command)
        words = " ".join(str(error).split())
        said = f"{type(error).__name__}: {words}" if words else type(error).__name__
        _tell(f"failed: {said} (not foreseen: please report it); {_keep_traceback()}")
        return 1
    finally:
        _drop_unwritable_output()
    return code


def show_plainly(text: str, *, one_line: bool = False) -> str:
    r"""Text as a terminal may show it: what would steer it, or turn its writing, as escapes.

    With `one_line` newlines are escapes too: text of others cannot pretend to be a line of ours.

    >>> show_plainly("red\x1b[31m \u202egnp.exe")
    'red\\x1b[31m \\u202egnp.exe'
    """
    shown = _STEERING.sub(lambda found: repr(found[0])[1:-1], text)
    return shown.replace("\n", r"\n") if one_line else shown


def describe_error(error: Exception) -> str:
    """An error in words; what a file system refuses comes with the file and what to do."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    place = "".join(f": {name}" for name in (error.filename, error.filename2) if name is not None)
    step = _NEXT_STEPS.get(error.errno)
    if isinstance(error, FolderGoneError):
        step = "run again where it is now"
    elif error.errno == errno.ENOENT and not place:  # only the current folder has no name
        step = "the current folder was deleted; change to one that is there"
    return f"{error.strerror}{place}" + (f"; {step}" if step else "")


def open_streams() -> None:
    """Let standard output and error take any text, whatever their encoding.

    What an encoding lacks is written as `+-` for a plus-minus sign, else as an escape: on terminals
    that know ASCII only, and for file names that are not UTF-8.
    """
    codecs.register_error("sdsearch", _write_plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="sdsearch")


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP, by which schedulers and lost terminals end us, act as Ctrl-C.

    Only the first counts: nothing interrupts the tidying up after it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        for name in _ENDING:
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    heard = [name for name in _ENDING if signal.getsignal(name) is not signal.SIG_IGN]  # nohup
    before = {name: signal.signal(name, interrupt) for name in heard}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _write_plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError) and error.object[error.start] == "±":
        return "+-", error.start + 1
    return codecs.backslashreplace_errors(error)


def _tell(text: str) -> None:
    """The last line. Where nobody listens, the exit code has to do."""
    text = show_plainly(text)
    if sys.stderr is not None:
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)  # noqa: T201 (a terminal is what this is for)


def _keep_traceback() -> str:
    """Write the traceback of the exception at hand to a file of its own; says where it is."""
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="sdsearch-",
            suffix=".log",
            encoding="utf-8",
            errors="backslashreplace",
            delete=False,
        ) as log:
            traceback.print_exc(file=log)
    except OSError as error:
        return f"its traceback could not be written: {describe_error(error)}"
    return f"its traceback is in {log.name}"


def _drop_unwritable_output() -> None:
    """Lose what is left for a closed pipe or a full disk: Python would fail on it while it ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
