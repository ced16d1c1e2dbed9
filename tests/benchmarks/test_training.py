"""The benchmark of training, short."""

import json
import subprocess
import sys

import pytest
import torch

from helpers.small import (
    ROOT,
    environment,
)


@pytest.mark.night
@pytest.mark.slow
def test_the_benchmark_measures_every_kind_and_claims_nothing_it_did_not():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks"), "training", "--quick", "--json"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    rows = report["kinds"]["motion"] + report["kinds"]["spatial"]
    assert [row["name"] for row in rows if "failed" in row] == []
    assert len(rows) == 4
    assert all(row["seconds"] > 0 and row["peak_bytes"] > row["built_bytes"] > 0 for row in rows)
    assert report["commit"]
    if not torch.cuda.is_available():
        assert {goal["state"] for goal in report["goals"]} == {"not measured here (no GPU)"}
