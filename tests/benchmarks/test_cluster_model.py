from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.cluster_model import Cluster, simulate_run
from benchmarks.sim_cluster import predict_measured_run

LABELS = [100.0, 50.0, 75.0, 25.0, 80.0, 60.0]


def test_one_worker_takes_the_sum_and_one_start() -> None:
    run = simulate_run(Cluster(1, start=10), LABELS)
    assert run.makespan == pytest.approx(400)
    assert run.useful == pytest.approx(390)
    assert run.starts == 1


def test_a_start_for_every_label_is_paid_for_every_label() -> None:
    run = simulate_run(Cluster(1, start=10, start_per_label=True), LABELS)
    assert run.makespan == pytest.approx(390 + 60)
    assert run.starts == 6


def test_more_workers_than_labels_end_with_the_longest() -> None:
    run = simulate_run(Cluster(50, start=10), LABELS)
    assert run.makespan == pytest.approx(110)
    assert run.utilisation == pytest.approx(390 / (50 * 110))


def test_two_workers_share_in_the_order_of_the_list() -> None:
    # 100 25 | 50 75: both free at 125; then 80 and 60.
    assert simulate_run(Cluster(2), LABELS).makespan == pytest.approx(205)


def test_readers_wait_for_one_another_where_the_file_system_is_full() -> None:
    cluster = Cluster(8, read=100, client_rate=10, total_rate=20)
    run = simulate_run(cluster, [100.0] * 8)
    assert run.longest_start == pytest.approx(40)  # four rounds of two at ten seconds
    wide = simulate_run(replace(cluster, total_rate=80), [100.0] * 8)
    assert wide.longest_start == pytest.approx(10)


def test_a_lost_label_is_done_again_after_its_lease() -> None:
    # Worker 1 dies at 30; worker 0 is free at 100, watches for 20 and does the 50 over.
    run = simulate_run(Cluster(2, lease=20, kills=((30, 1),)), [100.0, 50.0])
    assert run.makespan == pytest.approx(170)
    assert run.lost == pytest.approx(30)
    assert run.useful == pytest.approx(150)


def test_preempted_workers_lose_time_and_no_label() -> None:
    calm = simulate_run(Cluster(4, start=5), [60.0] * 40)
    rough = Cluster(4, start=5, preempted_every=300, replaced_after=30)
    run = simulate_run(rough, [60.0] * 40, seed=1)
    assert run.useful == pytest.approx(calm.useful) == pytest.approx(2400)
    assert run.lost > 0
    assert run.makespan > calm.makespan
    assert run == simulate_run(rough, [60.0] * 40, seed=1)


def test_workers_on_one_machine_slow_one_another_down_only_while_both_work() -> None:
    run = simulate_run(Cluster(2, beside=1.5), [100.0, 10.0])
    assert run.makespan == pytest.approx(100 + 0.5 * 10, abs=1)
    both = simulate_run(Cluster(2, beside=1.5), [100.0, 100.0])
    assert both.makespan == pytest.approx(150, abs=1)


def test_one_reader_gets_no_more_than_all_together() -> None:
    assert simulate_run(Cluster(1, read=100, client_rate=10, total_rate=5), [1.0]).makespan == 21


def test_what_every_label_reads_slows_many_workers_and_not_few() -> None:
    few = Cluster(2, read_per_label=100, client_rate=10, total_rate=20)
    assert simulate_run(few, [100.0] * 8).makespan == pytest.approx(4 * 110)
    many = simulate_run(replace(few, workers=8), [100.0] * 8)
    assert many.makespan == pytest.approx(100 + 40)


def test_the_run_on_two_nodes_that_was_measured_is_reproduced_within_fifteen_percent() -> None:
    told, share = predict_measured_run()
    assert len(told["label_seconds"]) == 12
    assert 0 < told["lost_at"] < told["makespan"]
    assert share == pytest.approx(1, abs=0.15)
