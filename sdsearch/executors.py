"""Executors: where labels are measured. Whichever does it, the values are the same.

`local` is a worker on this machine. Started again on other machines, or by Slurm, with the study on
a shared file system, it joins the others: the study's claims are the queue. `ray` makes every
architecture a task of a Ray cluster whose nodes all see the study and the teacher.
"""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sdsearch.errors import InputError, WorkError
from sdsearch.harness_process import HarnessProcess
from sdsearch.labels import label_path
from sdsearch.stages import following_labels
from sdsearch.study import load_study
from sdsearch.worker import finish_labels, open_claims, work_off

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sdsearch.study import Study

ExecutorName = Literal["local", "ray"]
_RAY_RETRIES = 2  # times the study's attempts: a node may die before it has claimed anything


@dataclass(frozen=True, slots=True)
class LabelJob:
    """What to label: architecture keys of a study under a label seed, perhaps at a rung.

    `processes` work on one label together, one per GPU.
    """

    study: Study
    seed: int
    keys: tuple[str, ...]
    processes: int = 1
    rung: int | None = None

    @property
    def rung_study(self) -> Study:
        """The study under the protocol that is measured."""
        return self.study.at_rung(self.rung)

    def todo(self) -> list[str]:
        """The keys without a label."""
        study = self.rung_study
        protocol = study.config.protocol.key
        return [
            key for key in self.keys if not label_path(study, key, protocol, self.seed).exists()
        ]

    def open_labeller(self) -> HarnessProcess:
        """The process of the harness that measures for this job."""
        return HarnessProcess(self.study, self.seed, self.processes, self.rung)


def label_architectures(job: LabelJob, executor: ExecutorName) -> None:
    """Label all of a job; with `local`, other workers may be at the same labels.

    Raises:
        InputError, WorkError: something concerns all labels; those measured before are kept.
    """
    todo = len(job.todo())
    if not todo:
        return
    with following_labels(len(job.keys), len(job.keys) - todo) as tell:
        (_label_here if executor == "local" else _label_on_ray)(job, tell)


def prepare_labels(job: LabelJob) -> None:
    """Compute what all labels share, once, before many workers would each find it missing."""
    with job.open_labeller() as labeller:
        labeller.prepare()


def _label_here(job: LabelJob, tell: Callable[[int, str], None]) -> None:
    with _interrupted_by_sigterm(), job.open_labeller() as labeller:
        claims = open_claims(job.rung_study, job.seed)
        work_off(job.rung_study, job.seed, job.keys, labeller, claims, tell)
        finish_labels(labeller, claims)


def _label_on_ray(job: LabelJob, tell: Callable[[int, str], None]) -> None:
    try:
        import ray
    except ImportError:
        raise InputError(
            "executor ray needs the package ray, which is not installed; "
            'run: pip install "sdsearch[ray]", or use executor local'
        ) from None
    started = not ray.is_initialized()
    if started:  # RAY_ADDRESS, or the cluster that runs here, or one made of this machine
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    try:
        _run_tasks(ray, job, tell)
    finally:
        if started:
            ray.shutdown()


def _run_tasks(ray: Any, job: LabelJob, tell: Callable[[int, str], None]) -> None:
    """Prepare on one node, label on all, finish on one."""
    label = job.study.config.label
    run = ray.remote(run_task).options(
        num_cpus=job.study.config.protocol.threads * job.processes,
        num_gpus=job.processes if ray.cluster_resources().get("GPU") else 0,
        max_retries=_RAY_RETRIES * label.attempts,
        scheduling_strategy="SPREAD",
    )

    def start(task: Task, keys: Sequence[str] = ()) -> Any:
        root = str(job.study.root.resolve())
        return run.remote(task, root, tuple(keys), job.seed, job.processes, job.rung)

    def wait_for(started: list[Any]) -> str:
        try:
            return " ".join(ray.get(started))
        except (ray.exceptions.RayError, ray.exceptions.RayTaskError) as error:
            cause = getattr(error, "cause", None) or error
            wrong = InputError if isinstance(cause, InputError) else WorkError
            raise wrong(f"on the Ray cluster: {cause}") from None

    wait_for([start("prepare")])
    pending = [start("label", [key]) for key in job.todo()]
    while pending:
        ended, pending = ray.wait(pending, num_returns=1)
        news = wait_for(ended)
        tell(len(job.keys) - len(job.todo()), news)
    wait_for([start("finish")])


Task = Literal["prepare", "label", "finish"]


def run_task(
    task: Task, root: str, keys: tuple[str, ...], seed: int, processes: int, rung: int | None
) -> str:
    """One task of a Ray cluster, on whichever node it runs; the news, for people."""
    try:
        study = load_study(root)
    except InputError as error:
        raise InputError(
            f"every node must see the study at {root}, as on a shared file system, but: {error}"
        ) from None
    job = LabelJob(study, seed, keys, processes, rung)
    claims, news = open_claims(job.rung_study, seed), [" ".join(keys)]
    with job.open_labeller() as labeller:
        if task == "prepare":
            labeller.prepare()
        elif task == "label":
            work_off(
                job.rung_study, seed, keys, labeller, claims, lambda _, said: news.append(said)
            )
        else:
            finish_labels(labeller, claims)
    return news[-1]


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM, by which schedulers announce an end, as Ctrl-C: the claim at hand is given back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
