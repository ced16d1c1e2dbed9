"""Checkpoints: whole or not there, wherever a save is killed."""

import errno
import json
import os
import shutil
import signal
import sys

import pytest
import torch

from helpers import small
from helpers.like_windows import ACCESS_DENIED, IN_USE, refuse_once, refused
from helpers.small import differences
from still_moving.common import files
from still_moving.common.errors import UserError
from still_moving.training.stage import checkpoints
from still_moving.training.stage.checkpoints import (
    Checkpoint,
    load_checkpoint,
    number_format,
    save_checkpoint,
)

unix = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks of this process")


def checkpoint(step: int, stage: int = 0) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    values = {f"layer {i}.down": torch.randn(4, 50, generator=generator) for i in range(3)}
    optimizer = {f"{name}:exp_avg": value + 1 for name, value in values.items()}
    average = {name: value / 2 for name, value in values.items()}
    meta = {"stage": stage, "step": step, "loss_average": 0.1 + step / 3, "files": {"a": "b"}}
    return Checkpoint(values, optimizer, average, meta)


def is_whole(loaded: Checkpoint | None, step: int) -> bool:
    expected = checkpoint(step)
    return loaded is not None and (
        loaded.meta == {**expected.meta, "parts": ["tensors", "optimizer", "average"]}
        and not differences(loaded.tensors, expected.tensors)
        and not differences(loaded.optimizer, expected.optimizer)
        and not differences(loaded.average, expected.average)
    )


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    assert load_checkpoint(tmp_path / "ckpt") is None
    save_checkpoint(tmp_path / "ckpt", checkpoint(5))
    assert is_whole(load_checkpoint(tmp_path / "ckpt"), 5)
    whole = checkpoint(6)
    save_checkpoint(tmp_path / "ckpt", Checkpoint(whole.tensors, {}, {}, whole.meta))
    loaded = load_checkpoint(tmp_path / "ckpt")
    assert loaded is not None
    assert (loaded.optimizer, loaded.average) == ({}, {})


def test_the_two_newest_are_kept(tmp_path):
    for step in (50, 100, 150, 1000):
        save_checkpoint(tmp_path, checkpoint(step))
    save_checkpoint(tmp_path, checkpoint(10, stage=1))
    assert names(tmp_path) == ["0-0001000", "1-0000010", "latest"]


def test_a_loaded_checkpoint_outlives_its_files(tmp_path):
    save_checkpoint(tmp_path, checkpoint(5))
    loaded = load_checkpoint(tmp_path)
    for file in (tmp_path / "0-0000005").iterdir():
        file.write_bytes(b"\0" * file.stat().st_size)  # in place, as no rename would
    assert is_whole(loaded, 5)


def killed(act, *, at_call: int | None = None, at_byte: int | None = None) -> bool:
    """Do it in a fork that dies at its n-th call for a file, or when a file reaches n bytes.

    True when it died, False when it came to its end first.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if at_call is not None:
                sys.setprofile(die_at(at_call))
            if at_byte is not None:
                import resource

                # The system itself kills a process whose file grows past this.
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                resource.setrlimit(resource.RLIMIT_FSIZE, (at_byte, at_byte))
            act()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0, "the save itself failed"
    return False


def die_at(count: int):
    """A profiler that kills this process before or after its n-th call into the file system."""
    left = [count]

    def watch(_frame, event: str, function) -> None:
        if event in ("c_call", "c_return"):
            owner = getattr(function, "__module__", None)
            owner = owner or type(getattr(function, "__self__", None)).__module__
            left[0] -= owner.startswith(("posix", "io", "_io", "safetensors"))
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return watch


@pytest.mark.slow
@unix
@pytest.mark.parametrize("ways", ["calls", "bytes"])
def test_a_save_killed_anywhere_leaves_the_old_or_the_new_checkpoint(tmp_path, ways):
    for step in (50, 100):
        save_checkpoint(tmp_path / "made", checkpoint(step))
    outcomes, deaths = [], 0
    for n in range(1000):
        folder = tmp_path / f"{ways} {n}"
        shutil.copytree(tmp_path / "made", folder)
        where = {"at_call": n} if ways == "calls" else {"at_byte": 47 * n}
        died = killed(lambda to=folder: save_checkpoint(to, checkpoint(150)), **where)
        loaded = load_checkpoint(folder)
        new = loaded is not None and loaded.meta["step"] == 150
        assert is_whole(loaded, 150 if new else 100), (n, names(folder))
        outcomes.append(new)
        if n % 4 == 0:  # the next save works, and what the killed one left is gone
            save_checkpoint(folder, checkpoint(200))
            assert is_whole(load_checkpoint(folder), 200)
            assert len(names(folder)) == 3, names(folder)
        shutil.rmtree(folder)
        if not died:
            break
        deaths += 1
    assert not died
    assert deaths > 20
    assert outcomes == sorted(outcomes)  # once new, always new
    assert not outcomes[0]
    assert outcomes[-1]


@pytest.mark.slow
@unix
def test_saving_the_same_step_again_is_as_safe(tmp_path):
    """A pause right after a save, or a resume that stops at once, saves a step twice."""
    save_checkpoint(tmp_path, checkpoint(50))
    for n in range(1000):
        died = killed(lambda: save_checkpoint(tmp_path, checkpoint(50)), at_call=n)
        assert is_whole(load_checkpoint(tmp_path), 50), n
        if not died:
            return
    raise AssertionError("the save never ended")


@pytest.mark.slow
@unix
def test_the_first_save_killed_anywhere_leaves_none_or_a_whole_one(tmp_path):
    for n in range(1000):
        folder = tmp_path / str(n)
        died = killed(lambda to=folder: save_checkpoint(to, checkpoint(1)), at_call=n)
        loaded = load_checkpoint(folder)
        assert loaded is None or is_whole(loaded, 1), n
        shutil.rmtree(folder, ignore_errors=True)
        if not died:
            break
    assert is_whole(loaded, 1)


@pytest.mark.usefixtures("like_windows")
def test_a_copy_that_is_read_only_goes_on(tmp_path):
    """As from a disc, or an archive: Windows then refuses to replace and to remove."""
    for step in (50, 100):
        save_checkpoint(tmp_path, checkpoint(step))
    for path in tmp_path.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    save_checkpoint(tmp_path, checkpoint(150))
    assert names(tmp_path) == ["0-0000100", "0-0000150", "latest"]
    assert is_whole(load_checkpoint(tmp_path), 150)


@pytest.mark.usefixtures("like_windows")
def test_a_save_outlasts_who_looks_at_what_it_writes(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, checkpoint(50))
    refuse_once(monkeypatch, os, "replace", *[refused(ACCESS_DENIED) for _ in range(3)])
    refuse_once(monkeypatch, files, "open", refused(), refused(IN_USE))
    save_checkpoint(tmp_path, checkpoint(100))
    assert is_whole(load_checkpoint(tmp_path), 100)


def test_a_save_that_fails_leaves_the_old_one_and_nothing_beside_it(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, checkpoint(50))
    before = names(tmp_path)
    refuse_once(monkeypatch, checkpoints, "sync_file", OSError(errno.ENOSPC, "full"))
    with pytest.raises(OSError, match="full"):
        save_checkpoint(tmp_path, checkpoint(100))
    assert names(tmp_path) == before
    assert is_whole(load_checkpoint(tmp_path), 50)


def test_what_killed_saves_of_any_version_left_is_gone_before_the_next_writes(tmp_path):
    save_checkpoint(tmp_path, checkpoint(50))
    for name in ("0-0000100.tmp", ".new-0123abcd.tmp", ".old-0123abcd.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tensors.safetensors").touch()
    (tmp_path / f".latest.{'0' * 32}.tmp").touch()
    save_checkpoint(tmp_path, checkpoint(100))
    assert names(tmp_path) == ["0-0000050", "0-0000100", "latest"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("meta.json", b""),
        ("meta.json", b"[]"),
        ("meta.json", b'{"parts": 3, "stage": 0, "step": 1}'),
        ("meta.json", b'{"parts": ["tensors"]}'),
        ("meta.json", b"\xff\xfe"),
        ("tensors.safetensors", b""),
        ("tensors.safetensors", b"garbage, not tensors"),
        ("../latest", b""),
        ("../latest", b"0-0000009"),
        ("../latest", b"\xff\xfe"),
        ("../latest", b"../.."),
    ],
)
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, file, content):
    save_checkpoint(tmp_path, checkpoint(1))
    (tmp_path / "0-0000001" / file).write_bytes(content)
    with pytest.raises(UserError) as refusal:
        load_checkpoint(tmp_path)
    assert str(tmp_path) in str(refusal.value)


def test_a_checkpoint_that_lost_a_part_is_refused(tmp_path):
    save_checkpoint(tmp_path, checkpoint(1))
    (tmp_path / "0-0000001" / "optimizer.safetensors").unlink()
    with pytest.raises(UserError, match=r"optimizer\.safetensors"):
        load_checkpoint(tmp_path)


def test_an_older_checkpoint_can_be_named_by_hand(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint(step))
    (tmp_path / "0-0000002" / "meta.json").unlink()
    (tmp_path / "latest").write_text("0-0000001\n", encoding="utf-8")
    assert is_whole(load_checkpoint(tmp_path), 1)
    save_checkpoint(tmp_path, checkpoint(2))  # in the place of the damaged one
    assert is_whole(load_checkpoint(tmp_path), 2)


def test_meta_is_json_that_anybody_can_read(tmp_path):
    path = save_checkpoint(tmp_path, checkpoint(3))
    assert json.loads((path / "meta.json").read_text(encoding="utf-8"))["step"] == 3


def test_a_resumed_run_keeps_the_number_format_that_was_chosen_for_it():
    """What auto means can change with the pack; a run in two formats would not be one run."""
    auto = {"format": ["cuda", "bfloat16"]}

    def of(meta):
        return Checkpoint({}, {}, {}, meta)

    cpu, card = torch.device("cpu"), torch.device("cuda")
    assert number_format(of(auto), "auto", card) == torch.bfloat16
    assert number_format(of(auto), "auto", cpu) == torch.float32  # on another device it is chosen
    assert number_format(of(auto), "float16", card) == torch.float16
    assert number_format(of({}), "auto", cpu) == torch.float32  # older ones do not say
    assert number_format(None, "auto", cpu) == torch.float32
    saved = small.new_training(small.motion_recipe(), torch.bfloat16)
    assert saved.checkpoint().meta["format"] == ["cpu", "bfloat16"]


@pytest.mark.parametrize(("before", "after"), [("bfloat16", "float16"), ("float16", "bfloat16")])
def test_a_run_goes_on_in_another_number_format(before, after):
    """Only fp16 scales its loss: a checkpoint of another format has no scale to take up."""
    first = small.new_training(small.motion_recipe(), getattr(torch, before))
    first.advance()
    second = small.new_training(small.motion_recipe(), getattr(torch, after))
    second.restore(first.checkpoint())
    assert second.advance().step == 2
