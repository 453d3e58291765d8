"""A stand-in for the harness as it serves labels: at once, or it goes wrong as it is told.

    python fake_harness.py PLAN REQUEST

PLAN is a JSON file: architecture key -> what becomes of it, one of "ok", "fail", those of PASSING,
"hang", "stuck" (it cannot be asked to end), "babble" (it hangs and prints), "slow" (1.5 seconds),
"killed", "crash", "exit", "full", "missing" (it misses a file, once there is one called "go"),
"input", "other protocol"; a list says it attempt by attempt. "start" and "finish" may be "killed"
or "hang". REQUEST is a serve request.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from sdsearch.labels.label import Failure, Label
from sdsearch.study.folder import StudyFolder, read_study
from sdsearch.study.listing import read_listing
from sdsearch.study.requests import ServeRequest
from sdsearch.workers.messages import (
    Answer,
    Begun,
    FailOrder,
    Finished,
    FinishOrder,
    Labelled,
    Lost,
    Ready,
    Stopped,
    read_order,
    write_answer,
)

PASSING = {
    "memory": Failure(kind="memory", message="OutOfMemoryError: CUDA out of memory"),
    "device": Failure(kind="device", message="CUDA error: an illegal memory access"),
}


def main() -> None:
    plan = Path(sys.argv[1])
    request = ServeRequest.model_validate_json(Path(sys.argv[2]).read_text())
    study = read_study(request.study).at_rung(request.rung).at_seed(request.seed)
    sys.stdout.write("a library says hello\n")
    (study.root / "started").touch()
    _fare(_next(plan, "start"))
    _answer(Ready())
    for line in sys.stdin:
        order = read_order(line)
        if isinstance(order, FinishOrder):
            _fare(_next(plan, "finish"))
            with (study.root / "finished").open("a") as times:
                times.write("once\n")
            _answer(Finished())
        elif isinstance(order, FailOrder):
            _label(study, order.arch_key, order.failure)
        else:
            _answer(Begun())
            _behave(study, order.arch_key, _next(plan, order.arch_key))


def _fare(what: str) -> None:
    if what == "hang":
        time.sleep(600)
    elif what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


def _behave(study: StudyFolder, key: str, what: str) -> None:
    if what == "fail":
        _label(study, key, Failure(kind="architecture", message="WorkError: no luck"))
    elif what in PASSING:
        _answer(Lost(failure=PASSING[what]))
    elif what == "babble":
        while True:
            sys.stdout.write("step\n")
            sys.stdout.flush()
            time.sleep(0.05)
    elif what == "other protocol":
        _label(study, key, None, "0123456789ab")
    elif what == "stuck":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    elif what in ("hang", "killed"):
        _fare(what)
    elif what == "crash":
        signal.raise_signal(signal.SIGSEGV)
    elif what == "slow":
        time.sleep(1.5)
        _label(study, key)
    elif what == "exit":
        os._exit(3)
    elif what == "missing":
        while not (study.root / "go").exists():
            time.sleep(0.05)
        _answer(Stopped(message="No such file or directory", is_input=False))
        os._exit(1)
    elif what in ("full", "input"):
        is_input = what == "input"
        said = "bad photo" if is_input else "No space left on device"
        _answer(Stopped(message=said, is_input=is_input))
        os._exit(1)
    else:
        sys.stdout.write("progress 100 %\n")
        _label(study, key)


def _label(
    study: StudyFolder, key: str, failure: Failure | None = None, protocol: str | None = None
) -> None:
    label = Label(
        arch_key=key,
        protocol_key=protocol or study.series.protocol_key,
        seed=study.series.seed,
        status="failed" if failure else "ok",
        failure=failure,
        architecture=read_listing(study).architectures[key],
        values={} if failure else {"fd_efflite0": 1.0},
    )
    _answer(Labelled(label=label))


def _next(plan: Path, key: str) -> str:
    """What to do now; of a list, its next entry, which is then gone."""
    wanted = json.loads(plan.read_text())
    what = wanted.get(key, "ok")
    if isinstance(what, list):
        now, wanted[key] = what[0], what[1:] or "ok"
        plan.write_text(json.dumps(wanted))
        return str(now)
    return str(what)


def _answer(answer: Answer) -> None:
    sys.stdout.write(write_answer(answer))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
