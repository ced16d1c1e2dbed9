"""What a command is asked to make has a name that every system takes, or it says so first."""

import pytest
from PIL import Image

from helpers.small import main, write_files

TRAIN = ("--checkpoint", "{checkpoint}", "--motion-module", "{motion_module}")
SMALL = ("--shapes", "--width", "32", "--height", "32", "--prompt", "red circle")
COMMANDS = [
    ["train", "motion", "{new}", *TRAIN, "--frames-set", "{frames}", "--name", "dog"],
    ["cache", "{pictures}", "{new}", *SMALL],
    ["export", "{adapter}", "{new}", "--checkpoint", "{checkpoint}"],
    ["train", "invert", "{frames}", "{new}", *TRAIN],
    ["demo", "--out", "{new}"],
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "pictures").mkdir()
    Image.new("RGB", (32, 32)).save(folder / "pictures" / "a.png")
    return {**write_files(folder), "pictures": folder / "pictures"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
@pytest.mark.parametrize("name", ["nul.safetensors", "a?b.safetensors"])
def test_a_name_that_windows_does_not_take(command, name, files, tmp_path, capsys):
    words = [word.format(**files, new=tmp_path / "new" / name) for word in command]
    assert main(*words)[0] == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Windows" in line, line
    assert not (tmp_path / "new").exists()


def test_the_adapter_s_name_too(files, tmp_path, capsys):
    words = [word.format(**files, new=tmp_path / "new") for word in COMMANDS[0]]
    assert main(*words[:-1], "con")[0] == 2
    assert "'con', a name that Windows keeps for itself" in capsys.readouterr().err
    assert main(*words[:-2], "--name", "x" * 61)[0] == 2
    assert "61 characters" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
