"""The command line: help that answers, mistakes in one line, output that programs can read."""

import json
import sys

import pytest
import torch
from PIL import Image

from helpers.small import (
    main,
    motion_recipe,
    new_job,
    run,
    spatial_recipe,
    write_files,
)
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.tensors import read_tensors, write_tensors
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import JobFolder
from still_moving.training.recipes.recipe import Recipe

HELP = [
    [],
    *([name] for name in ("demo", "cache", "train", "export", "inspect")),
    *(
        ["train", name]
        for name in ("motion", "spatial", "resume", "pause", "stop", "save", "status")
    ),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize("command", HELP, ids=" ".join)
def test_every_command_explains_itself(command):
    code, out = main(*command, "--help")
    assert code == 0
    assert out.startswith("usage: ")
    assert len(out.split()) > 15


@pytest.mark.slow
def test_help_in_a_process_of_its_own():
    done = run("train", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "resume" in done.stdout


MOTION = ["train", "motion", "{new}", "--checkpoint", "{checkpoint}"]
MOTION += ["--motion-module", "{motion_module}", "--frames-set", "{frames}"]
SPATIAL = ["train", "spatial", "{new}", "--checkpoint", "{checkpoint}"]
SPATIAL += ["--motion-module", "{motion_module}", "--customized", "{customized}"]
WHOLE = [*SPATIAL, "--natural", "{natural}", "--motion-adapter", "{adapter}"]


def swapped(command: list[str], place: str, other: str) -> list[str]:
    return [other if word == place else word for word in command]


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["inspect", "{none}"], "none"),
        (["inspect", "{folder}"], "set.json"),
        (["inspect", "{text}"], "notes.txt"),
        (["cache", "{none}", "{new}", "--shapes"], "none"),
        (["cache", "{pictures}", "{new}", "--prompt", "x"], "--checkpoint"),
        (["cache", "{pictures}", "{new}", "--shapes", "--prompt", "x", "--width", "9"], "width"),
        (["train", "status", "{none}"], "expected a job"),
        (["train", "resume", "{none}"], "expected a job"),
        (["train", "pause", "{folder}"], "expected a job"),
        (swapped(MOTION, "{checkpoint}", "{none}"), "none"),
        (swapped(MOTION, "{motion_module}", "{none}"), "none"),
        (swapped(MOTION, "{frames}", "{none}"), "none"),
        (swapped(MOTION, "{checkpoint}", "{motion_module}"), "module.safetensors"),
        (swapped(MOTION, "{motion_module}", "{adapter}"), "motion adapter.safetensors"),
        (swapped(MOTION, "{frames}", "{folder}"), "set.json"),
        (swapped(MOTION, "{new}", "{job}"), "a new folder"),
        (swapped(MOTION, "{new}", "{text}"), "notes.txt"),
        ([*MOTION, "--name", "../up"], "name"),
        ([*MOTION, "--steps", "0"], "steps"),
        ([*MOTION, "--lr", "nan"], "lr"),
        ([*MOTION, "--seed", "-1"], "seed"),
        ([*MOTION, "--frames", "9"], "room for 8 frames"),
        ([*MOTION, "--recipe", "{none}"], "none"),
        ([*MOTION, "--recipe", "{text}"], "notes.txt"),
        ([*MOTION, "--recipe", "{recipe}", "--steps", "3"], "steps"),
        ([*MOTION, "--recipe", "{strange}"], "'learning_rate'"),
        ([*MOTION, "--recipe", "{recipe}"], "'customized'"),
        (SPATIAL, "--motion-adapter"),
        ([*SPATIAL, "--no-motion-adapter"], "--natural"),
        ([*SPATIAL, "--motion-adapter", "{adapter}"], "--natural"),
        (swapped(WHOLE, "{adapter}", "{none}"), "none"),
        ([*swapped(WHOLE, "{adapter}", "{checkpoint}"), "--frames", "3"], "base.safetensors"),
        ([*WHOLE, "--frames", "5"], "natural clips"),
        (["export", "{none}", "{new}.safetensors", "--checkpoint", "{checkpoint}"], "none"),
        (["export", "{adapter}", "{new}.ckpt", "--checkpoint", "{checkpoint}"], ".safetensors"),
        (["export", "{adapter}", "{new}.safetensors", "--checkpoint", "{none}"], "Motion Adapter"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_and_exit_code_2(command, named, files, tmp_path, capsys):
    places = {name: str(path) for name, path in files.items()}
    for name in ("folder", "pictures"):
        (tmp_path / name).mkdir()
        places[name] = str(tmp_path / name)
    Image.new("RGB", (32, 32)).save(tmp_path / "pictures" / "a.png")
    (tmp_path / "notes.txt").write_text("no tensors, no recipe", encoding="utf-8")
    recipe = spatial_recipe()
    (tmp_path / "recipe.json").write_text(recipe.to_json(), encoding="utf-8")
    (tmp_path / "strange.json").write_text(
        json.dumps({**json.loads(recipe.to_json()), "learning_rate": 1}), encoding="utf-8"
    )
    new_job(tmp_path / "job", motion_recipe(), files)
    places |= {"none": str(tmp_path / "none"), "new": str(tmp_path / "new")}
    places |= {"text": str(tmp_path / "notes.txt"), "job": str(tmp_path / "job")}
    places |= {n: str(tmp_path / f"{n}.json") for n in ("recipe", "strange")}
    code, _ = main(*(word.format(**places) for word in command))
    err = capsys.readouterr().err.splitlines()
    assert code == 2
    assert len(err) == 1
    assert err[0].startswith("error: "), err
    assert named in err[0]
    assert not list(tmp_path.glob("new*.safetensors"))


def test_a_mistyped_path_makes_no_job(files, tmp_path):
    command = [word.format(**files, new=tmp_path / "new") for word in MOTION]
    bad = swapped(command, str(files["checkpoint"]), str(tmp_path / "typo"))
    assert main(*bad)[0] == 2
    assert not (tmp_path / "new").exists()
    assert main(*command, "--steps", 1, "--frames", 3)[0] == 0


@pytest.mark.slow
def test_a_mistake_in_a_process_of_its_own(tmp_path):
    done = run("export", tmp_path / "none", tmp_path / "lora", "--checkpoint", tmp_path / "none")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_train_motion_then_spatial_then_export(files, tmp_path):
    """The way of the README, at its smallest."""
    common = ["--checkpoint", files["checkpoint"], "--motion-module", files["motion_module"]]
    common += ["--steps", 2, "--frames", 3, "--rank", 2]
    code, out = main(
        "train", "motion", tmp_path / "still", "--frames-set", files["frames"], *common
    )
    assert code == 0
    motion = tmp_path / "still" / "export" / "still.safetensors"
    assert str(motion) in out
    code, out = main(
        *("train", "spatial", tmp_path / "look", "--customized", files["customized"], *common),
        *("--natural", files["natural"], "--motion-adapter", motion, "--name", "my look"),
        *("--lr", "1e-2", "--json"),
    )
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert [e["step"] for e in events if e["event"] == "step"] == [1, 2]
    assert events[-1]["phase"] == "finished"
    spatial = tmp_path / "look" / "export" / "my look.safetensors"
    lora = tmp_path / "lora.safetensors"
    assert main("export", spatial, lora, "--checkpoint", files["checkpoint"])[0] == 0
    tensors, _ = read_tensors(lora)
    layers = load_adapter(spatial).pairs
    assert sum(name.endswith("lora_up.weight") for name in tensors) == len(layers) == 43
    for scale in ("nan", "inf"):
        command = ("export", spatial, tmp_path / "bad.safetensors", "--scale", scale)
        assert main(*command, "--checkpoint", files["checkpoint"])[0] == 2


def test_an_export_for_another_checkpoint_is_refused(files, tmp_path, capsys):
    paths = write_files(tmp_path)
    job = new_job(tmp_path / "job", spatial_recipe(steps=1), paths)
    assert main("train", "resume", job.path)[0] == 0
    tensors, _ = read_tensors(paths["checkpoint"])
    other = tmp_path / "other.safetensors"
    write_tensors(other, {k: t * 1.01 for k, t in tensors.items()}, {})
    adapter = job.exports / "made.safetensors"
    assert main("export", adapter, tmp_path / "l.safetensors", "--checkpoint", other)[0] == 2
    assert "base.safetensors" in capsys.readouterr().err
    for source in (adapter, paths["checkpoint"]):  # and no file is written over its own source
        before = source.read_bytes()
        assert main("export", adapter, source, "--checkpoint", paths["checkpoint"])[0] == 2
        assert source.read_bytes() == before


def test_a_recipe_file_says_everything(files, tmp_path):
    recipe = motion_recipe(steps=1, seed=7)
    (tmp_path / "recipe.json").write_text(recipe.to_json(), encoding="utf-8")
    command = [word.format(**files, new=tmp_path / "new") for word in MOTION]
    assert main(*command, "--recipe", tmp_path / "recipe.json")[0] == 0
    assert JobFolder(tmp_path / "new").load().recipe == recipe


def test_every_number_of_a_job_is_an_option(files, tmp_path):
    command = [word.format(**files, new=tmp_path / "new") for word in WHOLE]
    numbers = ["--steps", 1, "--rank", 3, "--lr", 0.1, "--frames", 3, "--batch", 2, "--seed", 5]
    numbers += ["--ema", 0.5, "--save-every", 7, "--dtype", "bfloat16", "--tier", "top"]
    numbers += ["--sites", "blocks", "--prior-scale", 0.25]
    assert main(*command, *numbers)[0] == 0
    recipe = JobFolder(tmp_path / "new").load().recipe
    (stage,) = recipe.stages
    assert (stage.steps, stage.rank, stage.lr, stage.train) == (1, 3, 0.1, "spatial.blocks")
    assert (recipe.frames, recipe.batch, recipe.seed, recipe.ema) == (3, 2, 5, 0.5)
    assert (recipe.save_every, recipe.dtype, recipe.tier) == (7, "bfloat16", "top")
    assert stage.sources[1].scales == {"motion": 0.25}


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        (["--no-natural", "--motion-adapter", "{adapter}"], ({"customized"}, {"motion"})),
        (["--natural", "{natural}", "--no-motion-adapter"], ({"customized", "natural"}, set())),
    ],
)
def test_the_ablations_are_switches(files, tmp_path, switches, expected):
    command = [w.format(**files, new=tmp_path / "new") for w in (*SPATIAL, *switches)]
    assert main(*command, "--steps", 1, "--frames", 3)[0] == 0
    job = JobFolder(tmp_path / "new").load()
    assert (set(job.sets), set(job.adapters)) == expected
    assert Recipe.from_json(job.recipe.to_json()) == job.recipe


def test_status_and_commands_are_json(files, tmp_path):
    job = new_job(tmp_path / "job", motion_recipe(), files)
    for name, wanted in (("status", "run"), ("pause", "pause"), ("stop", "stop"), ("save", "stop")):
        code, out = main("train", name, job.path)
        assert code == 0
        phase = "paused" if wanted == "pause" else "queued"
        assert json.loads(out) == {"phase": phase, "step": 0, "steps": 0, "message": ""}
        assert job.read_control().wanted == wanted
    assert job.read_control().save == 1


def test_ctrl_c_ends_quietly(files, tmp_path, monkeypatch, capsys):
    job = new_job(tmp_path / "job", motion_recipe(), files)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("still_moving.training.worker.session.run_job", interrupt)
    assert main("train", "resume", job.path)[0] == 130
    assert "Traceback" not in capsys.readouterr().err


def test_user_errors_are_the_only_errors_that_are_hidden(monkeypatch):
    def fail(_path: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys.modules["still_moving.cli.inspect"], "describe", fail)
    with pytest.raises(ZeroDivisionError):
        main("inspect", "x")
    assert not issubclass(ZeroDivisionError, UserError)
    assert torch.get_num_threads() >= 1
