"""``train customize-a-video | vmc | newmove | invert`` from end to end, and what they refuse."""

import pytest

from helpers.reference_clips import WORDS, clips, write_sets
from helpers.small import FRAMES, main, write_files, write_set
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.motion_weights import load_motion_weights
from still_moving.adapters.files.tensors import read_tensors
from still_moving.training.jobs.job import JobFolder
from still_moving.training.network.inversion import KEY


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    stills = write_set(folder / "stills", clips("red circle left night", frames=1))
    return {**write_files(folder), **write_sets(folder), "stills": stills}


def job_options(files, *more: object) -> list[object]:
    short = ("--steps", 2, "--frames", FRAMES, "--device", "cpu")
    named = ("--checkpoint", files["checkpoint"], "--motion-module", files["motion_module"])
    return [*named, *short, *more]


@pytest.mark.parametrize("name", ["customize-a-video", "vmc", "newmove", "invert"])
def test_every_command_explains_itself(name):
    code, out = main("train", name, "--help")
    assert code == 0
    assert len(out.split()) > 30


@pytest.mark.slow
def test_customize_a_video_makes_a_motion_lora(tmp_path, files, capsys):
    options = job_options(files, "--clip", files["clip"], "--appearance", "red circle night")
    absorber = ("--absorber", "both", "--words", *WORDS, "--appearance-steps", 2)
    code, out = main("train", "customize-a-video", tmp_path / "job", *options, *absorber)
    assert code == 0, capsys.readouterr().err
    report = capsys.readouterr().err
    assert "appearance: " in report
    assert "motion: " in report
    assert "MiB before activations" in report
    names = {path.name for path in (tmp_path / "job" / "export").iterdir()}
    assert names == {
        "job.safetensors",
        "job appearance.safetensors",
        "job appearance words.safetensors",
    }
    assert "job.safetensors" in out
    assert load_adapter(tmp_path / "job" / "export" / "job.safetensors").info.kind == "motion"
    # Its absorber serves another job as a file.
    lora = tmp_path / "job" / "export" / "job appearance.safetensors"
    again = ("--absorber", "file", "--absorber-file", lora)
    code, _ = main("train", "customize-a-video", tmp_path / "two", *options, *again)
    assert code == 0, capsys.readouterr().err
    assert len(JobFolder(tmp_path / "two").load().recipe.stages) == 1


@pytest.mark.slow
def test_vmc_weights_are_inverted_with(tmp_path, files, capsys):
    options = job_options(
        files, "--clip", files["clip"], "--prompt", "red circle zigzag", "--backward"
    )
    code, _ = main("train", "vmc", tmp_path / "job", *options)
    assert code == 0, capsys.readouterr().err
    file = tmp_path / "job" / "export" / "job.safetensors"
    assert load_motion_weights(file).info.sites == "temporal.qkv.full"
    named = ("--checkpoint", files["checkpoint"], "--motion-module", files["motion_module"])
    code, out = main(
        *("train", "invert", files["clip"], tmp_path / "start.safetensors", *named),
        *("--motion-weights", file, "--frames", FRAMES, "--steps", 4, "--text", "caption"),
    )
    assert code == 0, capsys.readouterr().err
    tensors, facts = read_tensors(tmp_path / "start.safetensors")
    assert tensors[KEY].shape == (4, FRAMES, 4, 4)
    assert facts["steps"] == "4"
    assert "relative error" in out


def test_newmove_learns_a_token(tmp_path, files, capsys):
    options = job_options(files, "--clips", files["motion"], "--token", "pll")
    regular = ("--regularization", files["regularization"])
    code, _ = main("train", "newmove", tmp_path / "job", *options, *regular)
    assert code == 0, capsys.readouterr().err
    learned = load_motion_weights(tmp_path / "job" / "export" / "job.safetensors")
    assert (learned.info.token, learned.info.sites) == ("pll", "temporal.all+kv")
    code, out = main("inspect", tmp_path / "job" / "export" / "job.safetensors")
    assert code == 0
    assert "motion weights" in out
    assert "newmove" in out


CLIP, CLIPS = ("--clip", "{clip}"), ("--clips", "{motion}")
REFUSED = [
    ("vmc", ("--clip", "{stills}"), "one frame, a still"),
    ("vmc", ("--clip", "{motion}"), "3 clips, expected exactly one"),
    ("vmc", (*CLIP, "--prompt", "red circle"), "nothing about a motion"),
    ("vmc", (*CLIP, "--frames", 9), "4 frames, expected at least 9"),
    ("customize-a-video", (*CLIP, "--appearance", "red circle zigzag night"), "about a motion"),
    ("customize-a-video", (*CLIP, "--absorber", "words"), "words: found none"),
    ("customize-a-video", (*CLIP, "--absorber", "file"), "--absorber-file"),
    ("customize-a-video", (*CLIP, "--absorber-file", "{clip}"), "--absorber-file"),
    ("newmove", (*CLIPS, "--token", "dance", "--no-regularization"), "common word 'dance'"),
    ("newmove", (*CLIPS, "--token", "a b", "--no-regularization"), "token = 'a b'"),
    ("newmove", (*CLIPS, "--token", "sks", "--no-regularization"), "no 'sks'"),
    ("newmove", (*CLIPS, "--token", "pll"), "--regularization"),
    ("newmove", (*CLIPS, "--token", "pll", "--regularization", "{motion}"), "the token 'pll'"),
    ("newmove", ("--clips", "nowhere", "--token", "pll", "--no-regularization"), "nowhere"),
]


@pytest.mark.parametrize(("command", "options", "message"), REFUSED)
def test_mistakes_are_said_before_there_is_a_job(
    tmp_path, files, capsys, command, options, message
):
    filled = [str(word).format(**files) for word in options]
    code, _ = main("train", command, tmp_path / "job", *job_options(files), *filled)
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "job").exists()
