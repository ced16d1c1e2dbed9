"""What the benchmark of training beside other programs counts, and that it measures a job."""

import os

import psutil
import pytest

from still_moving.benchmarks.training import load
from still_moving.common.threads import BRIEF


def test_the_first_steps_are_not_counted():
    moments = iter([0.0, 9.0, 10.0, 11.5, 13.0, 20.0, 21.0])
    assert load.seconds(moments, load.WARM + 2) == [1.5, 1.5]
    assert next(moments) == 20.0


def test_a_row_tells_the_mean_and_the_slowest_step():
    *_, row = load.table({"so": ([0.2, 0.3, 0.7], [1.0, 2.0, 25.5])})
    assert row == "| so | 0.40 | 0.70 | 9.50 | 25.50 |"


@pytest.mark.slow
def test_other_programs_want_every_core_and_end():
    own = psutil.Process()
    with load.busy():
        loops = own.children()
        assert len(loops) == os.cpu_count()
    assert not any(loop.is_running() for loop in loops)


@pytest.mark.night
@pytest.mark.slow
def test_a_job_is_measured_without_load_and_under_it():
    parts = load.measure(BRIEF, 1, None)
    assert [len(part) for part in parts] == [1, 1]
    assert all(second > 0 for part in parts for second in part)
