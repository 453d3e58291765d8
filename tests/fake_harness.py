"""A stand-in for `python -m sdsearch_eval serve`: labels at once, or goes wrong as it is told.

    python fake_harness.py PLAN STUDY SEED

PLAN is a JSON file: architecture key -> what becomes of it, one of "ok", "fail", those of PASSING,
"hang", "stuck" (it cannot be asked to end), "babble" (it hangs and prints), "killed", "exit",
"full", "input", "other protocol"; a list says it attempt by attempt. "start" and "finish" may be
"killed".
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from sdsearch.errors import WorkError
from sdsearch.study.folder import StudyFolder, read_study
from sdsearch_eval.jobs.listing import read_listed

PASSING = {
    "memory": "OutOfMemoryError: CUDA out of memory",
    "cpu memory": "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory",
    "device": "AcceleratorError: CUDA error: an illegal memory access was encountered",
}


def main() -> None:
    plan, study = Path(sys.argv[1]), read_study(sys.argv[2])
    sys.stdout.write("a library says hello\n")
    (study.root / "started").touch()
    if _next(plan, "start") == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    _answer({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "finish":
            if _next(plan, "finish") == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            (study.root / "finished").touch()
            _answer({"done": True})
        elif request["do"] == "fail":
            _label(study, request["key"], "failed", request["reason"])
        else:
            _behave(study, request["key"], _next(plan, request["key"]))


def _behave(study: StudyFolder, key: str, what: str) -> None:
    if what == "fail":
        _label(study, key, "failed", "WorkError: no luck")
    elif what in PASSING:
        _label(study, key, "failed", PASSING[what])
    elif what == "babble":
        while True:
            sys.stdout.write("step\n")
            sys.stdout.flush()
            time.sleep(0.05)
    elif what == "other protocol":
        _label(study, key, "ok", None, "0123456789ab")
    elif what in ("hang", "stuck"):
        if what == "stuck":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    elif what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "exit":
        os._exit(3)
    elif what in ("full", "input"):
        error = WorkError("No space left on device") if what == "full" else ValueError("bad photo")
        _answer({"stop": str(error), "code": 1 if what == "full" else 2})
        os._exit(1)
    else:
        sys.stdout.write("progress 100 %\n")
        _label(study, key, "ok", None)


def _label(
    study: StudyFolder, key: str, status: str, reason: str | None, protocol: str | None = None
) -> None:
    arch = read_listed(study)[key]
    _answer(
        {
            "label": {
                "schema": 1,
                "arch_key": key,
                "protocol_key": protocol or study.config.protocol.key,
                "seed": int(sys.argv[3]),
                "status": status,
                "reason": reason,
                "architecture": arch.model_dump(mode="json"),
                "values": {"fd_efflite0": 1.0} if status == "ok" else {},
            }
        }
    )


def _next(plan: Path, key: str) -> str:
    """What to do now; of a list, its next entry, which is then gone."""
    wanted = json.loads(plan.read_text())
    what = wanted.get(key, "ok")
    if isinstance(what, list):
        now, wanted[key] = what[0], what[1:] or "ok"
        plan.write_text(json.dumps(wanted))
        return str(now)
    return str(what)


def _answer(answer: dict[str, object]) -> None:
    sys.stdout.write("@sdsearch " + json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
