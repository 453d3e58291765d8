"""The stages of a study, in order; each reads and writes files, skips what is current, resumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdsearch.assets import asset_path
from sdsearch.content import canonical_json
from sdsearch.cost import count_macs, count_params
from sdsearch.drawing import draw_unet
from sdsearch.errors import InputError, nearest
from sdsearch.exports import export
from sdsearch.files import write_atomic
from sdsearch.labelling import measure
from sdsearch.labels import import_labels, read_table
from sdsearch.latency_table import fit_latency_table, read_survey
from sdsearch.outcome import ACTIVE, outcome, outcome_table
from sdsearch.processes import run_harness
from sdsearch.scores import read_scores
from sdsearch.search import best_measured, build, fit, read_designs, score
from sdsearch.stages import is_current, record_done, say
from sdsearch.teacher import resolve_teacher, teacher_sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.architecture import Architecture
    from sdsearch.labels import ImportReport
    from sdsearch.latency_table import LatencySurvey, LatencyTable
    from sdsearch.space import SearchSpace
    from sdsearch.study import Study

TINY_TABLE = "tiny-labels.jsonl"
COMPARED_SCENES = 8


def describe_space(space: SearchSpace) -> dict[str, Any]:
    """Return size, units and named members with their exact costs, ready for JSON."""
    backbone = space.backbone
    members = {
        name: {
            "arch_key": arch.key,
            "index": space.index(arch),
            "params": count_params(arch, backbone),
            "macs": count_macs(arch, backbone, backbone.sample_size).total,
        }
        for name, arch in space.members.items()
    }
    units = [{"name": unit.name, "options": len(unit.options)} for unit in space.units]
    return {"size": len(space), "name": space.name, "units": units, "members": members}


def draw_member(
    arch: Architecture, space: SearchSpace, out: Path | None = None, study: Study | None = None
) -> Path:
    """Write a member's picture as SVG; a study that has scored blocks gives their colours."""
    scores = read_scores(study.scores_file) if study else None
    file = out or Path(f"{arch.key}.svg")
    write_atomic(file, draw_unet(arch, space.backbone, scores.block_worth if scores else None))
    return file


def sample(study: Study) -> list[dict[str, Any]]:
    """Write architectures.jsonl: the named members and the study's sample, the same every time.

    What was proposed for a further round (`search.propose`) stays in the list.
    """
    space, wanted = study.space, study.config.space
    rng = np.random.default_rng(wanted.seed)
    draw = space.sample if wanted.strategy == "uniform" else space.sample_stratified
    picked: list[tuple[str, Architecture]] = [
        (f"member:{name}", arch) for name, arch in space.members.items()
    ]
    picked += [(wanted.strategy, arch) for arch in draw(wanted.labels, rng)]
    rows = [
        {"arch_key": arch.key, "architecture": arch.model_dump(mode="json"), "origin": origin}
        for origin, arch in picked
    ]
    file = study.architectures_file
    before = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    rows += [row for row in map(json.loads, before) if row["origin"] == ACTIVE]
    text = "".join(canonical_json(row) + "\n" for row in rows)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        write_atomic(file, text)
    return rows


def import_table(study: Study, table: Path | None = None) -> ImportReport:
    """Import a label table under the study's protocol; None means the tiny model's own table."""
    if table is None:
        if study.config.teacher.pipeline != "tiny":
            raise InputError(
                "the tiny label table was measured on the tiny teacher, but teacher.pipeline is "
                f"{study.config.teacher.pipeline!r}; measure instead: sdsearch label {study.root}"
            )
        table = asset_path(TINY_TABLE)
    folder = resolve_teacher(study.config.teacher.pipeline)
    if isinstance(folder, str):
        raise InputError(
            f"labels fit one teacher's weights, but those of the hub id {folder!r} are not here; "
            "set teacher.pipeline to a local folder"
        )
    return import_labels(study, table, study.config.protocol.key, teacher_sha256(folder))


def recover(study: Study, name: str, processes: int = 1) -> Path:
    """Recover a design by the study's long recipe; returns the folder of what came of it."""
    designs = {design.name: design for design in read_designs(study)}
    if name not in designs:
        hint = f"did you mean {nearest(name, designs)!r}?" if designs else "build some first"
        raise InputError(f"a design must be one that was built, but {name!r} is none; {hint}")
    key = designs[name].arch_key
    run_harness("recover", study.root, "--arch", key, "--long", processes=processes)
    return study.finetuned_dir(key)


def recompute(study: Study) -> None:
    """Compute the values of measured labels again from their rows, without sampling."""
    run_harness("label", study.root, "--recompute-metrics")


def compare(study: Study) -> Path:
    """Inpaint the same scenes with the teacher and the best measured design of each method."""
    resolve_teacher(study.config.teacher.pipeline)
    prefix = "tiny " if study.config.teacher.pipeline == "tiny" else ""
    columns = {f"{prefix}teacher": study.space.members["teacher"].key}
    for method in ("exhaustive", "autobuild"):
        best = best_measured(study, method)
        if best:
            columns[prefix + best.name] = best.arch_key
    inputs = {
        "format": 2,  # of what the harness writes: raise it when that changes
        "columns": columns,
        "scenes": COMPARED_SCENES,
        "protocol": study.config.protocol.key,
        "seed": study.config.seed,
        "teacher": study.config.teacher.pipeline,
    }
    picture = study.compare_dir / "grid.png"
    if not is_current(study, "compare", inputs):
        asked = [f"--column={name}={key}" for name, key in columns.items()]
        run_harness("compare", study.root, *asked, "--rows", str(COMPARED_SCENES))
        files = [picture, *(study.compare_dir / f"{n}.json" for n in ("comparison", "gallery"))]
        record_done(study, "compare", inputs, files)
    return picture


def serve(study: Study, host: str, port: int | None) -> None:
    """Serve the app of a study until it is stopped."""
    resolve_teacher(study.config.teacher.pipeline)
    run_harness("app", study.root, "--host", host, *(("--port", str(port)) if port else ()))


def compare_pipelines(options: Sequence[str], out: Path) -> Path:
    """Inpaint by the harness's `inpaint` with these options; returns the picture."""
    run_harness("inpaint", None, *options, "--out", str(out))
    return out


def report(study: Study) -> Path:
    """Print the outcome table and write report.html."""
    from rich.console import Console

    from sdsearch.report import write_report

    result = outcome(study)
    Console().print(outcome_table(result))
    return write_report(study, result)


def run(study: Study) -> Path:
    """Do the whole journey and print the table, the report's path and the pipelines' paths."""
    sample(study)
    if study.config.teacher.pipeline == "tiny":
        _import_own_table(study)
    measure(study)
    say(f"predictor: {fit(study).reason}")
    score(study)
    build(study)
    measure(study)
    compare(study)
    folders = export(study)
    page = report(study)
    say(f"report: {page}")
    for folder in folders:
        say(f"pipeline: {folder}")
    return page


def _import_own_table(study: Study) -> None:
    table, key = asset_path(TINY_TABLE), study.config.protocol.key
    if not any(label.protocol_key == key for label in read_table(table)):
        say(f"{TINY_TABLE} has no label of protocol {key}: all labels are measured here")
        return
    done = import_table(study)
    say(
        f"imported {done.imported} labels of protocol {key} ({done.skipped_existing} were there, "
        f"{done.other_protocol} of another protocol and {done.other_teacher} of another teacher "
        f"refused) from {done.origin}"
    )


def tabulate_latency(path: Path, wanted: LatencySurvey) -> LatencyTable:
    """Measure what a survey wants, beside `path`, and write the table fitted to it there.

    A survey that was begun for the same members and conditions is gone on with.

    Raises:
        InputError: the survey beside `path` is of other members or conditions.
    """
    file = path.with_suffix(".survey.json")
    if not file.exists():
        write_atomic(file, wanted.model_dump_json())
    begun = read_survey(file)
    same = [m.architecture for m in begun.members] == [m.architecture for m in wanted.members]
    if not same or begun.conditions != wanted.conditions or begun.backbone != wanted.backbone:
        raise InputError(
            f"{file} must be a survey of these members and conditions, but is another; remove it "
            "to begin anew, or give another table's path"
        )
    if not begun.is_complete:
        run_harness("latency", file)
    table = fit_latency_table(read_survey(file))
    write_atomic(path, table.model_dump_json(indent=1) + "\n")
    return table
