"""The harness: `python -m sdsearch_eval REQUEST.json`.

A request (see `sdsearch.study.requests`) says one command with all that it needs, such as
{"command": "recover", "study": "study", "arch_key": "3f0c9a17b2de"}; `-` reads it from standard
input. `sdsearch` writes requests itself. Where a job has several processes, a launcher starts each
with the same file:

torchrun --standalone --nproc_per_node 2 -m sdsearch_eval REQUEST.json
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import ValidationError

from sdsearch.errors import InputError, WorkError
from sdsearch.study import REQUEST, HarnessRequest, ServeRequest


def main(arguments: list[str] | None = None) -> int:
    """Do what a request asks for; exit code 0 done, 1 failed work, 2 bad input."""
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from sdsearch_eval.world import leave_world

    try:
        return _do(_read_request(sys.argv[1:] if arguments is None else arguments))
    except (InputError, WorkError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except OSError as error:
        print(f"error: {error}; what was finished is kept, run again to continue", file=sys.stderr)
        return 1
    finally:
        leave_world()


def _read_request(arguments: list[str]) -> HarnessRequest:
    if len(arguments) != 1 or arguments[0].startswith("--"):
        raise InputError(f"the harness takes one request, but got {arguments}\n\n{__doc__}")
    try:
        said = sys.stdin.read() if arguments[0] == "-" else Path(arguments[0]).read_text("utf-8")
        return REQUEST.validate_json(said)
    except ValidationError as error:
        raise InputError(f"a request must be valid, but: {error}") from None


def _do(request: HarnessRequest) -> int:
    from sdsearch_eval import jobs

    if isinstance(request, ServeRequest):
        return jobs.serve_labels(request)
    if request.command == "app":
        from sdsearch_eval.app import serve_app

        serve_app(request)
    elif request.command == "resolve":
        jobs.resolve_study(request)
    elif request.command == "adopt":
        jobs.adopt_labels(request)
    elif request.command == "recompute":
        jobs.recompute_labels(request)
    elif request.command == "recover":
        jobs.recover_architecture(request)
    elif request.command == "finetune":
        jobs.finetune_architecture(request)
    elif request.command == "grid":
        jobs.draw_grid(request)
    elif request.command == "inpaint":
        jobs.inpaint_images(request)
    elif request.command == "thumbnails":
        jobs.add_thumbnails(request)
    else:
        jobs.time_members(request)
    return 0


if __name__ == "__main__":
    sys.exit(main())
