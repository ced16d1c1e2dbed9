"""A job that gives the device away, shows a clip or is killed ends as if nothing had happened."""

import os
import threading
import time
from collections.abc import Callable

import pytest
import torch
from PIL import Image

from helpers.disturbed import same, undisturbed, until
from helpers.small import curve, learned, motion_recipe, new_job, spatial_recipe
from still_moving import cli
from still_moving.training.jobs import wish
from still_moving.training.jobs.job import State
from still_moving.training.worker import preview, session
from still_moving.training.worker.failure import FINISHED
from still_moving.training.worker.session import run_job
from still_moving.worlds.shapes.latents import decode_image, encode_world

pytestmark = pytest.mark.usefixtures("one_thread")

EVERY = {"save_every": 2, "held_out_every": 3}


RECIPES = {"motion": motion_recipe(**EVERY), "spatial": spatial_recipe(**EVERY, ema=0.9)}


def at_steps(acts: dict[int, Callable[[], object]]) -> Callable[[dict], None]:
    """Call something when a step is reported."""

    def watch(event: dict) -> None:
        if event["event"] == "step" and event["step"] in acts:
            acts.pop(event["step"])()

    return watch


def in_background(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("sharing", ["yield", "keep"])
def test_giving_way_changes_nothing(tmp_path, files, kind, sharing):
    folder = new_job(tmp_path / "job", RECIPES[kind], files)
    folder.share(sharing)  # at the start, too: nothing is on the device before it is free
    seen = []

    def comfyui() -> None:
        for _ in range(3):
            until(lambda: folder.phase() == "yielding", "the device")
            seen.append(curve(folder))
            folder.share("run")
            until(lambda: folder.phase() in ("running", "finished"), "training")

    thread = in_background(comfyui)
    disturb = at_steps({2: lambda: folder.share(sharing), 5: lambda: folder.share(sharing)})
    assert run_job(folder, disturb) == FINISHED
    thread.join()
    assert seen[0] == []
    assert [max(step for _, _, step, *_ in points) for points in seen[1:]] == [2, 5]
    same(undisturbed(tmp_path, RECIPES[kind], files), folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECIPES)
def test_leaving_after_a_long_wait_and_coming_back_changes_nothing(tmp_path, files, kind):
    folder = new_job(tmp_path / "job", RECIPES[kind], files)
    assert run_job(folder, at_steps({3: lambda: folder.share("yield")}), patience_s=0.2) == 0
    assert (folder.phase(), folder.read_state().step) == ("queued", 3)
    assert run_job(folder, patience_s=0.2) == 0  # still not free: nothing is loaded, nothing lost
    assert (folder.phase(), folder.read_state().step) == ("queued", 3)
    folder.share("run")
    assert run_job(folder, at_steps({4: lambda: folder.send("pause")}), patience_s=0.2) == 0
    assert (folder.phase(), folder.read_state().step) == ("paused", 4)
    folder.send("run")
    assert run_job(folder, at_steps({5: lambda: folder.share("leave")})) == 0
    folder.share("run")
    assert run_job(folder) == FINISHED
    same(undisturbed(tmp_path, RECIPES[kind], files), folder)


@pytest.mark.slow
def test_one_that_holds_never_leaves(tmp_path, files):
    folder = new_job(tmp_path / "job", RECIPES["motion"], files)
    thread = in_background(lambda: (time.sleep(1.5), folder.share("run")))
    assert run_job(folder, at_steps({3: lambda: folder.share("keep")}), patience_s=0.1) == FINISHED
    thread.join()


def test_the_artist_stands_above_sharing(tmp_path, files):
    folder = new_job(tmp_path / "job", RECIPES["motion"], files)

    def give_way_and_stop() -> None:
        folder.share("yield")
        until(lambda: folder.phase() == "yielding", "the device")
        folder.send("stop")

    threads = []
    act = at_steps({2: lambda: threads.append(in_background(give_way_and_stop))})
    assert run_job(folder, act) == 0
    threads[0].join()
    assert folder.phase() == "stopped"
    assert learned(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECIPES)
def test_samples_change_nothing_and_show_each_scale(tmp_path, files, kind):
    recipe = RECIPES[kind]
    folder = new_job(tmp_path / "job", recipe, files)
    job = folder.load()
    text = job.to_json().replace('"sample_every": 0', '"sample_every": 3')
    folder.spec.write_text(text, encoding="utf-8")
    ask = at_steps({4: lambda: folder.send(sample=True)})
    draws = []  # the global generator's states at the samples: nothing may draw from it

    def watch(event: dict) -> None:
        ask(event)
        if event["event"] in ("step", "sample"):
            draws.append(torch.get_rng_state())

    assert run_job(folder, watch) == FINISHED
    assert all(torch.equal(draws[0], state) for state in draws)
    names = sorted(path.name for path in folder.samples.iterdir())
    assert names == ["3.webp", "4.webp", "6.webp"]
    samples = [e for e in folder.read_events() if e["event"] == "sample"]
    assert [e["file"] for e in samples] == names
    with_more = {"motion": [1.0, 0.0, -1.0], "all": [1.0]}
    scales = with_more.get(kind, [1.0, 0.0])
    assert all(e["scales"] == scales and len(e["motion"]) == len(scales) for e in samples)
    with Image.open(folder.samples / "6.webp") as clip:
        assert getattr(clip, "n_frames", 1) == recipe.frames
        assert clip.height == len(scales) * clip.width
    same(undisturbed(tmp_path, recipe, files), folder)


@pytest.mark.slow
def test_a_sample_that_fails_is_told_and_training_goes_on(tmp_path, files):
    folder = new_job(tmp_path / "job", RECIPES["motion"], files)
    folder.samples.write_text("a file where the folder should be", encoding="utf-8")
    ask = at_steps({2: lambda: folder.send(sample=True)})
    assert run_job(folder, ask) == FINISHED
    failures = [e for e in folder.read_events() if e["event"] == "sample_failed"]
    assert [(e["step"], "FileExistsError" in e["reason"]) for e in failures] == [(2, True)]
    same(undisturbed(tmp_path, RECIPES["motion"], files), folder)


@pytest.mark.slow
def test_a_sample_makes_way_and_is_made_later(tmp_path, files, monkeypatch):
    folder = new_job(tmp_path / "job", RECIPES["motion"], files)
    calls, predict = [], preview.predict

    def counted(*arguments):
        calls.append(1)
        if len(calls) == 5:
            folder.share("yield")
            threads.append(in_background(free_again))
        return predict(*arguments)

    def free_again() -> None:
        until(lambda: folder.phase() == "yielding", "the device")
        folder.share("run")

    threads: list[threading.Thread] = []
    monkeypatch.setattr(preview, "predict", counted)
    ask = at_steps({2: lambda: folder.send(sample=True)})
    assert run_job(folder, ask) == FINISHED
    threads[0].join()
    assert len(calls) == 5 + 3 * preview.STEPS
    assert [path.name for path in folder.samples.iterdir()] == ["2.webp"]
    same(undisturbed(tmp_path, RECIPES["motion"], files), folder)


@pytest.mark.slow
def test_a_paused_job_shows_a_clip_too(tmp_path, files):
    folder = new_job(tmp_path / "job", RECIPES["spatial"], files)

    def artist() -> None:
        until(lambda: folder.phase() == "paused", "the pause")
        folder.send(sample=True)
        until(lambda: (folder.samples / "2.webp").exists(), "the clip")
        folder.send("run")

    thread = in_background(artist)
    assert run_job(folder, at_steps({2: lambda: folder.send("pause")})) == FINISHED
    thread.join()
    same(undisturbed(tmp_path, RECIPES["spatial"], files), folder)


def test_preview_colours():
    latents = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(preview.to_pixels(latents, "shapes"), decode_image(latents))
    for base in ("sd15", "emoji"):  # whose VAEs are elsewhere
        shown = preview.to_pixels(latents, base)
        assert shown.shape == (3, 3, 20, 24)
        assert 0 <= shown.min() <= shown.max() <= 1
    small = torch.rand(1, 3, 4, 4)
    assert torch.allclose(preview.to_colours(encode_world(small), "emoji"), small, atol=1e-5)
    grey = preview.to_pixels(torch.zeros(1, 4, 2, 2), "sd15")
    assert torch.equal(grey, torch.full((1, 3, 8, 8), 0.5))


def test_the_worker_says_where_it_is(tmp_path, files):
    folder = new_job(tmp_path / "job", motion_recipe(steps=1), files)
    assert run_job(folder) == FINISHED
    assert int(folder.pid.read_text(encoding="utf-8").split()[0]) == os.getpid()
    assert wish.PATIENCE_S == 600


def test_a_new_worker_is_loading_before_its_long_imports(monkeypatch, tmp_path, files):
    """What a killed one wrote last, that it was running, must not stand while nothing runs yet."""
    folder = new_job(tmp_path / "job", motion_recipe(), files)
    folder.write_state(State("running", 0, 3, 10))
    seen = []
    monkeypatch.setattr(
        session, "run_owned", lambda job, _, **__: seen.append(job.read_state()) or 0
    )
    assert cli.main(["train", "work", str(folder.path)]) == 0
    assert seen == [State("loading", 0, 3, 10)]


def test_motion_is_that_of_what_moves():
    """A square of the shapes world, a latent pixel a frame: eight of the picture's."""
    clip = torch.zeros(2, 3, 6, 16, 16)
    for i in range(6):
        clip[0, :, i, 6:10, 2 + i : 6 + i] = 1.0
        clip[1, :, i, 6:10, 6:10] = 1.0
    latents = encode_world(clip.transpose(1, 2)).transpose(1, 2)
    moving, still = preview.motion_of(latents, "shapes")
    assert moving == pytest.approx(8, rel=0.2)
    assert still == 0
