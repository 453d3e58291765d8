"""The harness: `python -m sdsearch_eval REQUEST.json`.

A request (see `sdsearch.study.requests`) says one command with all that it needs, such as
{"command": "recover", "study": "study", "arch_key": "3f0c9a17b2de"}; `-` reads it from standard
input. `sdsearch` writes requests itself. Where a job has several processes, torchrun starts each
with the same file, here or by `python -m sdsearch_eval --processes=2 REQUEST.json`:

PYTHONSAFEPATH=1 torchrun --standalone --nproc_per_node 2 -m sdsearch_eval REQUEST.json
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sdsearch.study import HarnessRequest


def main(arguments: list[str] | None = None) -> int:
    """Do what a request asks for; exit code 0 done, 1 failed work, 2 bad input, 130 stopped."""
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from sdsearch.harness import end_with_parent, safe_paths
    from sdsearch.shell import interrupted_by_signals, open_streams, run_command

    open_streams()
    end_with_parent()
    given = sys.argv[1:] if arguments is None else arguments
    with safe_paths(), interrupted_by_signals():
        return run_command(lambda: _obey(given))


def _obey(arguments: list[str]) -> int:
    from sdsearch.shell import STOPPED

    option, _, number = arguments[0].partition("=") if arguments else ("", "", "")
    try:
        if option == "--processes" and number.isdecimal():
            return _launch(int(number), arguments[1:])
        request = _read_request(arguments)
        with _noticing_moves(request):
            return _do(request)
    except KeyboardInterrupt:
        return STOPPED  # whoever stopped us says so
    finally:
        # A request that is refused has loaded no torch.
        if world := sys.modules.get("sdsearch_eval.world"):
            world.leave_world()


def _launch(processes: int, arguments: list[str]) -> int:
    """Have torchrun start this module so often; the exit code of the first that failed.

    It is printed here, and said as shells do, where a signal ended that one.
    """
    import logging

    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    from sdsearch.endings import shell_code
    from sdsearch.errors import HarnessError

    request = _read_request(arguments)
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # each says why it failed
    each = ["-m", "sdsearch_eval", *arguments]
    try:
        run.main(["--standalone", f"--nproc_per_node={processes}", *each])
    except SignalException:
        raise KeyboardInterrupt from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        ended = HarnessError(f"{request.stage}, rank {rank}", failure.exitcode, request.lighter)
        if not ended.has_been_told:
            sys.stderr.write(f"failed: {ended}\n")
            return shell_code(min(failure.exitcode, 1))  # any other code is failed work
        return int(failure.exitcode)
    return 0


def _read_request(arguments: list[str]) -> HarnessRequest:
    from pathlib import Path

    from pydantic import ValidationError

    from sdsearch.errors import InputError
    from sdsearch.files import read_text
    from sdsearch.study import REQUEST

    if len(arguments) != 1 or arguments[0].startswith("--"):
        raise InputError(f"the harness takes one request, but got {arguments}\n\n{__doc__}")
    try:
        said = sys.stdin.read() if arguments[0] == "-" else read_text(Path(arguments[0]))
        return REQUEST.validate_json(said)
    except ValidationError as error:
        raise InputError(f"a request must be valid, but: {error}") from None


def _noticing_moves(request: HarnessRequest) -> AbstractContextManager[None]:
    from sdsearch.files import noticing_moves
    from sdsearch.study import StudyRequest

    return noticing_moves(request.study) if isinstance(request, StudyRequest) else nullcontext()


def _do(request: HarnessRequest) -> int:
    from sdsearch.study import ServeRequest
    from sdsearch_eval import jobs

    if isinstance(request, ServeRequest):
        return jobs.serve_labels(request)
    if request.command == "app":
        from sdsearch_eval.app import serve_app

        serve_app(request)
    elif request.command == "resolve":
        jobs.resolve_study(request)
    elif request.command == "inspect":
        jobs.inspect_inputs(request)
    elif request.command == "adopt":
        jobs.adopt_labels(request)
    elif request.command == "recompute":
        jobs.recompute_labels(request)
    elif request.command == "plan":
        jobs.write_plan(request)
    elif request.command == "recover":
        jobs.recover_architectures(request)
    elif request.command == "finetune":
        jobs.finetune_architecture(request)
    elif request.command == "tune":
        jobs.tune_teacher(request)
    elif request.command == "grid":
        jobs.draw_grid(request)
    elif request.command == "inpaint":
        jobs.inpaint_images(request)
    elif request.command == "thumbnails":
        jobs.add_thumbnails(request)
    elif request.command == "runtimes":
        jobs.add_runtimes(request)
    elif request.command == "probe":
        jobs.probe_teacher(request)
    else:
        jobs.time_members(request)
    return 0


if __name__ == "__main__":
    with suppress(OSError):  # of a current folder that was deleted, and holds nothing
        if not sys.flags.safe_path and sys.path[0] == os.getcwd():
            del sys.path[0]  # a torch.py in it is not torch
    sys.exit(main())
