"""The pretended card itself: what it refuses, counts, repeats and leaves unwritten."""

import gc
import subprocess
import sys

import pytest
import torch

from helpers import card
from helpers.card import build
from helpers.card.kernels import calls
from helpers.card.library import card as machine
from helpers.small import environment

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    "act",
    [
        lambda here, there: here + there,
        lambda here, there: there @ here,
        lambda here, there: torch.cat([here, there]),
        lambda here, there: torch.nn.functional.linear(here, there),
        lambda here, there: here.add_(there),
        lambda here, there: there.mul_(here),
        lambda here, there: torch.where(here > 0, here, there),
        lambda here, there: torch._foreach_add([here], [there]),
    ],
)
def test_two_devices_are_refused_in_cudas_words(act):
    here, there = torch.ones(4, 4, device=CUDA), torch.ones(4, 4)
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        act(here, there)


def test_a_number_may_lie_on_the_cpu_and_indices_may():
    here = torch.arange(4.0, device=CUDA)
    assert (here * torch.tensor(2.0)).tolist() == [0, 2, 4, 6]
    assert here[torch.tensor([3, 1])].tolist() == [3, 1]
    with pytest.raises(RuntimeError, match="indices should be either on cpu"):
        torch.arange(4.0)[torch.tensor([3, 1], device=CUDA)]
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        here.lerp(here, torch.tensor(0.5))


def test_memory_ends_at_the_limit_and_comes_back():
    gc.collect()
    torch.cuda.empty_cache()
    used = machine().counters.used
    with card.limit(used + (64 << 20)):
        assert torch.cuda.mem_get_info() == (64 << 20, used + (64 << 20))
        half = torch.empty(40 << 20, dtype=torch.uint8, device=CUDA)
        with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
            torch.empty(40 << 20, dtype=torch.uint8, device=CUDA)
        del half
        torch.empty(60 << 20, dtype=torch.uint8, device=CUDA)
    torch.cuda.empty_cache()
    assert machine().counters.used == used


def test_out_of_memory_inside_of_a_kernel_keeps_nothing_alive():
    big = torch.zeros(8 << 20, device=CUDA)
    with card.crowded(), pytest.raises(torch.OutOfMemoryError) as caught:
        big.add(1)
    held = torch.cuda.memory_allocated()
    del big
    assert torch.cuda.memory_allocated() == held - (32 << 20)
    assert "out of memory" in str(caught.value)


def test_a_crowded_card_has_the_room_that_is_said():
    with card.crowded(free=24 << 20):
        torch.empty(4 << 20, dtype=torch.uint8, device=CUDA)
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(32 << 20, dtype=torch.uint8, device=CUDA)


def test_what_was_never_written_is_not_a_number():
    torch.cuda.empty_cache()
    fresh = torch.empty(32 << 20, dtype=torch.float16, device=CUDA)
    assert fresh.isnan().all()


def test_copies_from_pageable_memory_wait_and_pinned_ones_do_not():
    pageable, pinned = torch.ones(64), torch.ones(64).pin_memory()
    with card.watch() as seen:
        pageable.to(CUDA)
        pinned.to(CUDA)
    assert (seen.counted["h2d"], seen.counted["h2d_pageable"]) == (2, 1)
    assert seen.counted["stream_sync"] == 2  # neither was asked to go on
    with card.watch() as seen:
        pinned.to(CUDA, non_blocking=True)
    assert seen.counted == {"h2d": 1, "h2d_bytes": 256}
    assert seen.stalls == {}


def test_a_stall_is_told_by_its_line():
    tensor = torch.ones(3, device=CUDA)
    with card.watch() as seen:
        tensor.sum().item()
        tensor.nonzero()
        tensor[tensor > 0]
        torch.cuda.synchronize()
    lines = {where.split(":")[0] for _, where in seen.stalls}
    assert lines == {"tests/card/test_laws.py"}
    kinds = {what for what, _ in seen.stalls}
    assert kinds >= {"stream_sync", "nonzero", "index by truth values", "device_sync"}


def test_generators_repeat_from_a_seed_and_from_a_state():
    generator = torch.Generator(CUDA).manual_seed(5)
    first = [torch.randn(3, generator=generator, device=CUDA) for _ in range(2)]
    state = generator.get_state()
    then = torch.rand(3, generator=generator, device=CUDA)
    again = torch.Generator(CUDA).manual_seed(5)
    for one in first:
        assert torch.equal(one, torch.randn(3, generator=again, device=CUDA))
    assert not torch.equal(*first)
    again.set_state(state)
    assert torch.equal(then, torch.rand(3, generator=again, device=CUDA))
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator"):
        torch.randn(3, generator=torch.Generator(), device=CUDA)


def test_dropout_draws_for_the_card_and_leaves_the_cpu_alone():
    torch.cuda.manual_seed(3)
    before, ones = torch.get_rng_state(), torch.ones(64, device=CUDA)
    one = torch.nn.functional.dropout(ones)
    torch.cuda.manual_seed(3)
    assert torch.equal(one, torch.nn.functional.dropout(ones))
    assert torch.equal(before, torch.get_rng_state())


UNKNOWN = """
import torch
from helpers.card import kernels
kernels._registered._destroy()  # torch's own kernels are back
torch.ones(3, device="cuda")
"""


def test_a_kernel_that_is_missing_fails_loudly():
    tests = str(card.library.__file__).partition("/helpers/")[0]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({tests!r})\n{UNKNOWN}"],
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 1
    assert "a kernel that it does not have" in done.stderr


def test_a_result_on_the_card_is_the_argument_that_was_written():
    out, tensor = torch.empty(0, device=CUDA), torch.arange(3.0, device=CUDA)
    assert torch.add(tensor, 1, out=out) is out
    assert out.tolist() == [1, 2, 3]
    assert tensor.mul_(2) is tensor
    half, ones = (torch.ones(2, 2, device=CUDA, dtype=torch.float16) for _ in range(2))
    assert half.addmm_(ones, ones) is half
    assert half.tolist() == [[3, 3], [3, 3]]


def test_each_child_has_its_own_capability_and_memory():
    code = "import torch; print(torch.cuda.get_device_capability(), torch.cuda.mem_get_info()[1])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(**card.environment(gib=0.5, capability="7.5")),
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert done.stdout.split("\n")[0] == f"(7, 5) {1 << 29}"


def test_kernels_are_counted_by_name():
    before = calls["mm"]
    torch.ones(2, 2, device=CUDA).mm(torch.ones(2, 2, device=CUDA))
    assert calls["mm"] == before + 1


def test_where_it_cannot_be_the_reason_is_said(monkeypatch, tmp_path):
    assert card.why_not() == ""
    with monkeypatch.context() as patch:
        patch.setattr(build, "FOR_TORCH", "2.99")
        assert card.why_not().startswith("it is written for torch 2.99, here is 2.11")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        assert card.why_not() == "gcc is not installed"
    with monkeypatch.context() as patch:
        patch.setattr(build, "HEADERS", ("nowhere/include",))
        assert card.why_not() == "CUDA's headers are not beside torch (nowhere/include)"
    (tmp_path / "broken.c").write_text("int broken( {", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(build, "SOURCES", tmp_path)
        patch.setattr(build, "cache_folder", lambda: tmp_path / "cache")
        patch.setattr(build, "library", build.library.__wrapped__)
        assert card.why_not().startswith("gcc cannot build it: ")
        assert "broken.c" in card.why_not()
