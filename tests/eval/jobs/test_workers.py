"""Real workers on one study: kills, hangs, a full disk, two Ray nodes; the values stay the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from sdsearch.labels import LabelKey
from sdsearch.stages.label import label_study, prepare_study, read_statuses
from sdsearch.study import read_sample
from sdsearch.workers.claims import read_attempts
from sdsearch.workers.job import open_claims
from tests.fakes import list_members, make_design, make_study, write_designs
from tests.stand_in import wait_until
from tests.unets import random_members

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdsearch.study.folder import StudyFolder
    from sdsearch.workers.status import LabelStatus

pytestmark = pytest.mark.slow
TOML = """
[protocol]
samples = 6
block_size = 4
steps = 2
threads = 1
feature_size = 32
recovery = { steps = 2, batch_size = 2 }
[label]
lease = 4
attempts = 20
time_limit = %s
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
SCRIPTS = Path(__file__).parents[3] / "scripts"


def listed_study(folder: Path, count: int, time_limit: float = 120) -> StudyFolder:
    """A study of `count` random members."""
    made = make_study(folder, TOML % time_limit)
    list_members(made, random_members(20, seed=8, space="tiny")[:count])
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """Twenty labels by the local executor, undisturbed."""
    study = listed_study(tmp_path_factory.mktemp("whole") / "study", 20)
    label_study(study)
    assert len(study.labels.read_all()) == 20
    return study


def status_of(study: StudyFolder) -> LabelStatus:
    (status,) = read_statuses(study)
    return status


def values_of(study: StudyFolder) -> dict[str, dict[str, Any]]:
    """The values of all labels, but for the clock's."""
    return {
        label.arch_key: {k: v for k, v in label.values.items() if k != "latency_ms"}
        for label in study.labels.read_all()
    }


def start_worker(study: StudyFolder, *before: str) -> subprocess.Popen[bytes]:
    line = [*before, sys.executable, "-m", "sdsearch", "label", str(study.root)]
    return subprocess.Popen(
        line, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


class Watch(threading.Thread):
    """Notes every file that a label ever was, to see that each was written once."""

    def __init__(self, study: StudyFolder) -> None:
        super().__init__(daemon=True)
        self.study, self.seen, self.over = study, dict[Path, set[tuple[int, int]]](), False

    def run(self) -> None:
        while not self.over:
            for path in self.study.labels.folder.glob("*/*.json"):
                stat = path.stat()
                self.seen.setdefault(path, set()).add((stat.st_ino, stat.st_mtime_ns))
            time.sleep(0.02)

    def times_written(self) -> list[int]:
        self.over = True
        self.join()
        return [len(versions) for versions in self.seen.values()]


def test_three_workers_under_random_kills_label_all_and_none_twice(
    whole: StudyFolder, tmp_path: Path
) -> None:
    study = listed_study(tmp_path / "study", 20)
    rng, kills, watch = random.Random(3), 0, Watch(study)
    watch.start()
    workers = [start_worker(study) for _ in range(3)]
    deadline = time.monotonic() + 420
    while len(study.labels.read_all()) < 20:
        assert time.monotonic() < deadline
        time.sleep(rng.uniform(1, 3) if kills < 6 else 1)
        if kills < 6 and study.labels.read_all():
            victim = rng.randrange(3)
            workers[victim].send_signal(signal.SIGKILL)
            workers[victim].wait()
            workers[victim] = start_worker(study)
            kills += 1
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0, 0]
    assert kills == 6
    assert watch.times_written() == [1] * 20
    assert values_of(study) == values_of(whole)
    status = status_of(study)
    assert (status.ok, status.failed, status.running) == (20, (), ())
    attempts = [read_attempts(open_claims(study).folder / key) for key in values_of(study)]
    assert max(map(len, attempts)) > 1, "no lease was reclaimed: the kills hit nobody at work"
    assert not orphans(study)


def test_a_node_of_a_ray_cluster_is_lost_half_way_and_all_labels_come(
    whole: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    study = listed_study(tmp_path / "study", 12)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    watch = Watch(study)
    watch.start()
    try:
        killer = threading.Thread(target=lambda: kill_half_way(study, cluster, nodes[1]))
        killer.start()
        label_study(study, executor="ray")
        killer.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert watch.times_written() == [1] * 12
    assert values_of(study) == {key: values_of(whole)[key] for key in values_of(study)}
    assert len(values_of(study)) == 12
    attempts = [read_attempts(open_claims(study).folder / key) for key in values_of(study)]
    assert len({attempt.worker.pid for tried in attempts for attempt in tried}) > 1
    assert max(map(len, attempts)) == 2, "the lost node was at no label"


def kill_half_way(study: StudyFolder, cluster: Any, node: Any) -> None:
    """Take a node away once half of the labels are there and the node is at work on another."""
    wait_until(lambda: len(study.labels.read_all()) >= 6, 240)
    inside = psutil.Process(node.all_processes["raylet"][0].process.pid)

    held: list[psutil.Process] = []

    def at_work() -> bool:
        family = {child.pid: child for child in inside.children(recursive=True)}
        for folder in open_claims(study).folder.iterdir():
            for attempt in read_attempts(folder)[-1:]:
                worker = family.get(attempt.worker.pid)
                if worker is not None and is_held(study, folder, worker):
                    held[:] = [*worker.children(recursive=True), worker]
                    return True
        return False

    wait_until(at_work, 240)
    cluster.remove_node(node, allow_graceful=False)
    for process in held:  # Ray's end does not reach what is stopped
        with suppress(psutil.NoSuchProcess):
            process.kill()


def is_held(study: StudyFolder, folder: Path, worker: psutil.Process) -> bool:
    """Whether a label is in work; if so its worker is stopped, so that it cannot end by now."""
    if read_attempts(folder)[-1].state != "running":
        return False
    worker.suspend()
    # A label is published before its claim ends.
    is_published = LabelKey(folder.name, study.series) in study.labels
    if read_attempts(folder)[-1].state == "running" and not is_published:
        return True
    worker.resume()
    return False


def test_a_model_that_is_stopped_for_longer_than_its_limit_is_labelled_all_the_same(
    whole: StudyFolder, tmp_path: Path
) -> None:
    study = listed_study(tmp_path / "study", 3, time_limit=25)
    worker = start_worker(study)
    wait_until(lambda: len(study.labels.read_all()) == 1, 240)
    (stopped,) = psutil.Process(worker.pid).children(recursive=True)
    stopped.suspend()
    time.sleep(30)
    stopped.resume()
    assert worker.wait(timeout=240) == 0
    status = status_of(study)
    assert (status.ok, status.failed) == (3, ())
    assert values_of(study) == {key: values_of(whole)[key] for key in values_of(study)}


def test_a_disk_that_is_full_during_a_label_loses_nothing_done_before(
    whole: StudyFolder, tmp_path: Path
) -> None:
    study = listed_study(tmp_path / "study", 20)
    listed = list(read_sample(study).architectures.values())
    list_members(study, listed[:2])
    label_study(study)
    list_members(study, listed[:4])
    before = {path: path.read_bytes() for path in study.labels.folder.glob("*/*.json")}
    # No file above 1 MiB can be written: the weights of the third, a design's, cannot be kept.
    write_designs(study, [make_design(listed[2], "autobuild", 1)])
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"ulimit -f 1024; exec {sys.executable} -m sdsearch label {study.root}",
        ],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "what was finished is kept" in done.stderr
    assert {path: path.read_bytes() for path in study.labels.folder.glob("*/*.json")} == before
    assert not list(study.root.rglob("*.partial"))
    label_study(study)
    assert values_of(study) == {key: values_of(whole)[key] for key in values_of(study)}
    assert len(values_of(study)) == 4


def test_two_processes_at_one_label_are_ended_as_one(whole: StudyFolder, tmp_path: Path) -> None:
    study = listed_study(tmp_path / "study", 2)
    label_study(study, processes=2)
    ours, theirs = values_of(study), values_of(whole)
    for key, values in ours.items():
        for name in ("fd_efflite0", "psnr_hole"):
            assert values[name].value == pytest.approx(theirs[key][name].value, rel=1e-9)
    assert not orphans(study)


def test_a_process_of_two_that_is_killed_or_finds_the_disk_full_leaves_no_other_behind(
    whole: StudyFolder, tmp_path: Path
) -> None:
    study = listed_study(tmp_path / "study", 2)
    line = f"ulimit -f 1024; exec {sys.executable} -m sdsearch label {study.root} --processes 2"
    prepare_study(study)  # files of the cache are larger than what may be written next
    full = subprocess.run(
        ["bash", "-c", line], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert full.returncode == 1
    assert "File too large" in full.stderr
    assert not orphans(study)
    assert study.labels.read_all() == []
    job = subprocess.Popen(
        [sys.executable, "-m", "sdsearch", "label", str(study.root), "--processes", "2"],
        env=ENVIRONMENT,
    )
    wait_until(lambda: bool(list(study.root.rglob("block-*.safetensors"))), 240)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert not orphans(study)
    label_study(study)
    assert values_of(study) == {key: values_of(whole)[key] for key in values_of(study)}


def test_the_slurm_script_is_a_worker_that_gives_its_claim_back_on_sigterm(
    whole: StudyFolder, tmp_path: Path
) -> None:
    study = listed_study(tmp_path / "study", 2)
    place = tmp_path / "bin"
    place.mkdir()
    command = place / "sdsearch"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m sdsearch "$@"\n')
    command.chmod(0o755)
    environment = {**ENVIRONMENT, "PATH": f"{place}:{os.environ['PATH']}"}
    script = ["bash", str(SCRIPTS / "slurm" / "label.sbatch"), str(study.root)]
    subprocess.run([*script, "--prepare"], env=environment, check=True)
    job = subprocess.Popen(script, env=environment)
    claims = open_claims(study).folder
    wait_until(lambda: any(read_attempts(folder) for folder in claims.glob("*")), 240)
    for process in [*psutil.Process(job.pid).children(recursive=True), job]:
        process.send_signal(signal.SIGTERM)  # a scheduler signals all processes of a job
    assert job.wait(timeout=60) != 0
    states = [attempt.state for folder in claims.iterdir() for attempt in read_attempts(folder)]
    assert "released" in states
    assert "running" not in states
    assert subprocess.run(script, env=environment, check=False).returncode == 0
    assert values_of(study) == {key: values_of(whole)[key] for key in values_of(study)}


def orphans(study: StudyFolder) -> list[psutil.Process]:
    """Processes of the harness that are still at a study a moment after its workers have gone."""
    deadline = time.monotonic() + 10
    while found := list(_at_work_on(study)):
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    return found


def _at_work_on(study: StudyFolder) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "sdsearch_eval" in line and _study_of(Path(line[-1])) in (str(study.root), None):
            yield process


def _study_of(request: Path) -> str | None:
    """What a harness process was asked about; None where whoever asked has taken it back."""
    try:
        return str(json.loads(request.read_text(encoding="utf-8"))["study"])
    except FileNotFoundError:
        return None
