"""Command line of the harness.

python -m sdsearch_eval label STUDY              label all that has no label yet
torchrun --standalone --nproc_per_node 2 -m sdsearch_eval label STUDY --processes 2
python -m sdsearch_eval compare STUDY --column "teacher=3f0c9a17b2de" --rows 8
python -m sdsearch_eval inpaint --pipelines A B --image x.png --mask box:16,16,32,32
python -m sdsearch_eval recover STUDY --arch 3f0c9a17b2de
python -m sdsearch_eval latency SURVEY.json      time the members that a survey asks for
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from sdsearch.errors import InputError, WorkError
from sdsearch_eval.pictures.request import add_request, read_request


def main(arguments: list[str] | None = None) -> int:
    """Run one command; exit code 0 done, 1 failed work, 2 bad input."""
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    options = _parser().parse_args(arguments)
    from sdsearch_eval.jobs import work
    from sdsearch_eval.jobs.label import label_study, serve_labels
    from sdsearch_eval.world import leave_world

    try:
        if options.command == "inpaint":
            work.inpaint(read_request(options))
        elif options.command == "thumbnails":
            work.thumbnails(options.study, options.design)
        elif options.command == "app":
            work.app(options.study, options.host, options.port)
        elif options.command == "latency":
            work.survey_latency(options.survey)
        elif options.command == "label" and options.recompute_metrics:
            work.recompute_metrics(options.study, options.seed)
        elif options.command == "label":
            label_study(options.study, options.seed, options.arch, options.processes)
        elif options.command == "serve":
            return serve_labels(options.study, options.seed, options.rung, options.processes)
        elif options.command == "compare":
            work.compare(options.study, options.column, options.rows)
        elif options.long:
            work.finetune(options.study, options.arch, options.processes)
        else:
            work.recover(options.study, options.arch)
    except (InputError, WorkError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except OSError as error:
        print(f"error: {error}; what was finished is kept, run again to go on", file=sys.stderr)
        return 1
    finally:
        leave_world()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sdsearch_eval",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    label = commands.add_parser("label", help="label the architectures of a study")
    label.add_argument("--seed", type=int, help="label seed (default: the study's)")
    label.add_argument("--arch", action="append", help="only this architecture key; repeatable")
    label.add_argument("--processes", type=int, help="how many processes this job must have")
    label.add_argument(
        "--recompute-metrics", action="store_true", help="from kept rows, without sampling"
    )
    serve = commands.add_parser("serve", help="label at the call of sdsearch label")
    serve.add_argument("--seed", type=int, help="label seed (default: the study's)")
    serve.add_argument("--rung", type=int, help="under the protocol of this rung of [label]")
    serve.add_argument("--processes", type=int, help="how many processes this job must have")
    compare = commands.add_parser("compare", help="draw inpaintings side by side")
    compare.add_argument(
        "--column", action="append", required=True, help="NAME=ARCHITECTURE KEY; repeatable"
    )
    compare.add_argument("--rows", type=int, default=8, help="samples to show (default: 8)")
    add_request(commands.add_parser("inpaint", help="inpaint images with several pipelines"))
    recover = commands.add_parser("recover", help="write the recovered weights of one architecture")
    recover.add_argument("--arch", required=True, help="architecture key")
    recover.add_argument("--long", action="store_true", help="by the recipe of [export.recovery]")
    recover.add_argument("--processes", type=int, help="how many processes this job must have")
    app = commands.add_parser("app", help="serve the study's app")
    app.add_argument("--host", default="127.0.0.1", help="where to serve (default: local only)")
    app.add_argument("--port", type=int, help="default: the first free one from 7860")
    thumbnails = commands.add_parser("thumbnails", help="draw what exported pipelines paint")
    thumbnails.add_argument("--design", action="append", required=True, help="repeatable")
    for command in (label, serve, compare, recover, app, thumbnails):
        command.add_argument("study", type=Path, help="study folder")
    latency = commands.add_parser("latency", help="time the members of a latency survey")
    latency.add_argument("survey", type=Path, help="survey file, filled in place")
    return parser


if __name__ == "__main__":
    sys.exit(main())
