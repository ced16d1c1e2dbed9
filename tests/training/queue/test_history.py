"""What pages see of a job's events: whole curves in few points, read once as they grow."""

from typing import Any

from still_moving.training.jobs.job import JobFolder
from still_moving.training.queue import history
from still_moving.training.queue.history import History, Series


def test_a_curve_keeps_its_whole_history_in_few_points():
    series = Series(limit=8)
    for step in range(1, 1001):
        series.add(step, float(step))
        points = series.points()
        assert len(points) <= 8
        assert points[-1][0] == step
        assert [x for x, _ in points] == sorted({x for x, _ in points})
    assert sum(value for _, value in series.points()[:-1]) > 0
    assert series.points()[0][1] == (1 + series.width) / 2  # a mean over the first steps
    series.add(1001, None)
    assert series.points() == points


def test_a_history_read_in_pieces_is_the_one_read_at_once(tmp_path):
    folder = JobFolder(tmp_path)
    piecewise = History(tmp_path, (50, 50))
    for step in range(1, 300):
        folder.report("step", stage=0, step=step, loss=1.0 / step, loss_average=0.5)
        if step % 7 == 0:
            piecewise.update()
        if step == 150:
            folder.cut_events(0, 100)  # a new life begins at its checkpoint
    piecewise.update()
    whole = History(tmp_path, (50, 50))
    whole.update()
    assert piecewise.loss.points() == whole.loss.points()
    assert piecewise.last == whole.last
    with folder.events.open("a", encoding="utf-8") as file:
        file.write('{"event": "step", "st')
    version = whole.version
    whole.update()
    assert (whole.version, whole.last["step"]) == (version, 299)


def test_a_long_file_is_read_in_bounded_looks(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "MOST_BYTES", 1000)
    folder = JobFolder(tmp_path)
    for step in range(1, 30):
        folder.report("step", stage=0, step=step, loss=1.0, loss_average=0.5)
    with folder.events.open("a", encoding="utf-8") as file:
        file.write("x" * 2500 + "\n")  # of another hand
    folder.report("step", stage=0, step=30, loss=1.0, loss_average=0.5)
    seen, looks = History(tmp_path, (50,)), 0
    while looks == 0 or seen.more:
        seen.update()
        looks += 1
    assert looks > 3
    assert seen.last["step"] == 30
    assert len(seen.loss.points()) == 30


def sampled(tmp_path, *motion: float, step: int = 10, **wrong: Any) -> History:
    told = {"scales": (1.0, 0.0), "motion": motion} | wrong
    JobFolder(tmp_path).report("sample", stage=0, step=step, file=f"{step}.webp", **told)
    seen = History(tmp_path, (50,))
    seen.update()
    return seen


def test_motion_that_an_adapter_takes_away_is_told(tmp_path):
    seen = sampled(tmp_path, 0.8, 1.0)
    assert (seen.scales, seen.motion, seen.lost_motion()) == ([1.0, 0.0], [[10, 0.8, 1.0]], None)
    assert sampled(tmp_path, 0.4, 1.0, step=20).lost_motion() == (0.4, 1.0)
    again = sampled(tmp_path, 0.6, 1.0, step=20)  # a new life makes the sample of its step again
    assert again.motion == [[10, 0.8, 1.0], [20, 0.6, 1.0]]
    assert again.lost_motion() is None


def test_what_hardly_moved_before_has_no_motion_to_lose(tmp_path):
    assert sampled(tmp_path, 0.0, 0.4).lost_motion() is None


def test_a_sample_without_measures_is_a_sample_all_the_same(tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "10.webp").touch()
    cases: list[dict[str, Any]] = [{"scales": [1]}, {"motion": ["x", None]}, {"scales": None}]
    for wrong in cases:
        seen = sampled(tmp_path, 0.4, 1.0, **wrong)
        assert (seen.samples, seen.scales, seen.lost_motion()) == (["10.webp"], [], None)
