"""Labels on a Ray cluster: every architecture is a task; all nodes see study and teacher."""

from __future__ import annotations

import logging
import os
import socket
import sys
from contextlib import chdir, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sdsearch.console import say
from sdsearch.errors import InputError, WorkError
from sdsearch.harness import safe_paths
from sdsearch.study import read_study
from sdsearch.workers.worker import PATIENCE, News, finish_labels, work_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdsearch.workers.job import LabelJob


RayTask = Literal["prepare", "label", "finish"]
_CANCEL_SECONDS = 20.0
_RETRIES = 2  # times the study's attempts: a node may die before it has claimed anything


def label_on_ray(job: LabelJob, tell: Callable[[int, News], None]) -> None:
    """Label all of a job by the tasks of a Ray cluster.

    `tell` is told after every attempt how many labels there are, and what became of it.

    Raises:
        InputError, WorkError: something concerns all labels; those measured before are kept.
    """
    try:
        import ray
    except ImportError:
        raise InputError(
            "executor ray needs the package ray, which is not installed; "
            "run: pip install ray, or use executor local"
        ) from None
    started = not ray.is_initialized()
    if started:  # RAY_ADDRESS, or the cluster that runs here, or one made of this machine
        # Ray has its workers import what lies in the current folder, before all else.
        with safe_paths(), chdir(sys.prefix):
            ray.init(log_to_driver=False, logging_level=logging.WARNING)
    try:
        _run_tasks(ray, job, tell)
    finally:
        if started:
            ray.shutdown()


def _run_tasks(ray: Any, job: LabelJob, tell: Callable[[int, News], None]) -> None:
    """Prepare on one node, label on all, finish on one.

    What went wrong on a node is started again, likely on another; a node on which one architecture
    after another goes wrong ends the run. Whatever ends it, tasks at work give their claims back.
    """
    start = _task_starter(ray, job)
    pending: dict[Any, str] = {start("prepare", job.of()): ""}
    suspect: dict[str, list[str]] = {}  # what went wrong in a row, by node
    try:
        _finish_only(ray, pending)
        pending = {start("label", job.of(key)): key for key in job.todo()}
        while pending:
            (ended,), _ = ray.wait(list(pending), num_returns=1)
            key, report = pending.pop(ended), ray.get(ended)
            todo = job.todo()
            tell(len(job.keys) - len(todo), report.news)
            row = [*suspect.get(report.node, []), report.news.said] if report.trouble else []
            suspect[report.node] = row
            if len(row) >= PATIENCE:
                raise WorkError(f"node {report.node} seems to be out of order: {'; '.join(row)}")
            if key in todo:
                pending[start("label", job.of(key))] = key
        if job.rung is None:
            pending = {start("finish", job): ""}
            _finish_only(ray, pending)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        wrong = InputError if isinstance(cause, InputError) else WorkError
        raise wrong(f"on the Ray cluster: {cause}") from None
    finally:
        for task in pending:
            ray.cancel(task)
        if pending:
            ray.wait(list(pending), num_returns=len(pending), timeout=_CANCEL_SECONDS)


def _finish_only(ray: Any, pending: dict[Any, str]) -> None:
    """Wait for the one task that is pending.

    What has ended is not pending, whatever its report: Ray aborts this process where a task is
    cancelled while its end is written down (ray-project/ray#54798 mends one of several such races).
    """
    (task,) = pending
    ray.wait([task])
    pending.clear()
    report = ray.get(task)
    if report.trouble:
        raise WorkError(f"on node {report.node}: {report.news.said}")


def _task_starter(ray: Any, job: LabelJob) -> Callable[[RayTask, LabelJob], Any]:
    """What starts a task with the resources that a label needs."""
    cpus = job.study.config.protocol.threads * job.processes
    gpus = job.processes if ray.cluster_resources().get("GPU") else 0
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        say(
            f"a label needs a node of {cpus} CPUs and {gpus} GPUs, and none of {len(nodes)} has "
            "them: waiting for one; [protocol] threads and the processes a label say what it needs"
        )
    if not gpus:
        say("the cluster has no GPUs: labels run on CPUs")
    run = ray.remote(run_task).options(
        num_cpus=cpus,
        num_gpus=gpus,
        max_retries=_RETRIES * job.study.config.label.attempts,
        scheduling_strategy="SPREAD",
    )
    study, place = replace(job.study, root=job.study.root.resolve()), Path.cwd()
    return lambda task, part: run.remote(task, replace(part, study=study), place)


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What came of a task of a Ray cluster, and on which node."""

    node: str
    news: News
    trouble: bool = False


def run_task(task: RayTask, job: LabelJob, place: Path) -> TaskReport:
    """One task of a Ray cluster, on whichever node it runs; it ends with the first trouble.

    `place` is the folder that relative paths of the study begin at, where this node has it.
    """
    node, root = socket.gethostname(), job.study.root
    with suppress(OSError):
        os.chdir(place)
    try:
        read_study(root)
    except InputError as error:
        raise InputError(
            f"every node must see the study at {root}, as on a shared file system, but on {node}: "
            f"{error}"
        ) from None
    said = " ".join(job.keys)
    shift, news = job.open_shift(patience=1), [News(said, said)]
    try:
        with job.open_labeller() as labeller:
            if task == "prepare":
                labeller.prepare()
            elif task == "label":

                def tell(_: int, what: News) -> None:
                    news.append(what)

                work_off(shift, job.keys, labeller, tell)
            else:
                finish_labels(job.keys, labeller, shift.claims)
    except WorkError as error:
        why = news[-1] if len(news) > 1 else News(said, str(error))
        return TaskReport(node, why, trouble=True)
    return TaskReport(node, news[-1])
