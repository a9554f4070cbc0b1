"""Two machines, one of which is lost in the middle."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="needs the extra bulk: pyarrow is not installed")
pytest.importorskip("ray", reason="needs the extra bulk: ray is not installed")

import pyarrow.parquet as pq  # noqa: E402

from facewright.service.bulk.manifest import BulkOptions, open_run  # noqa: E402
from facewright.service.settings import Settings  # noqa: E402


@pytest.mark.slow
def test_all_rows_are_there_after_a_machine_was_lost(folder: Path, tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    from facewright.service.bulk import cluster as bulk_cluster

    run = open_run(BulkOptions(str(folder), str(tmp_path / "out"), part_size=1), Settings())
    store = {"object_store_memory": 100_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **store})
    second = cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    lost, done = [], set()

    def count(part: int, summary: object) -> None:
        done.add(part)
        if len(done) == 4:
            lost.append(second)
            cluster.remove_node(second, allow_graceful=False)

    ray.init(address=cluster.address, log_to_driver=False)
    try:
        reason = None
        missing = set(range(run.parts))
        while missing:
            reason = bulk_cluster.work_on_parts(run, sorted(missing), 1, count)
            assert missing & done, reason
            missing -= done
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert lost
    rows = pq.read_table(tmp_path / "out" / "faces").to_pylist()
    assert [row["photo_index"] for row in rows] == list(range(15))
    assert sum(row["code"] is None for row in rows) == 12
