"""Levers change how fast a step is and how much it holds, and nothing of what it computes."""

import dataclasses
import json
import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.small import (
    ROOT,
    curve,
    differences,
    environment,
    learned,
    motion_recipe,
    new_job,
    new_training,
    randomize,
    spatial_recipe,
    write_files,
)
from still_moving.benchmarks.training.loops import Encoders, PlainLoop, Size
from still_moving.benchmarks.training.loops import new_training as random_training
from still_moving.training.network import compiling
from still_moving.training.network.compiling import CompileTrial, can_compile, pays
from still_moving.training.network.tiers import TIERS, MemoryTiers
from still_moving.training.stage.draws import Draw, training_draw
from still_moving.training.stage.loop import StageTraining
from still_moving.training.stage.losses import draw_noise
from still_moving.training.worker.session import FINISHED, run_job

SIZE = Size(divide=10, frames=4, pixels=64)
CPU = torch.device("cpu")
AGREE = 1e-5  # of gradients in fp32: the norm of the difference over the norm
HALF_AGREES = 0.1  # of bf16, which has three digits
CURVES_AGREE = 1e-3  # of any loss in 200 steps
KINDS = ("motion", "spatial")


def draw_of(training: StageTraining, n: int) -> Draw:
    sizes = list(map(len, training.learned_items))
    return training_draw(training.recipe.seed, 0, training.stage, sizes, n)


def noise_of(training: StageTraining, n: int) -> Tensor:
    height = training.items[0][0].latents.shape[-1]
    shape = (1, 4, training.recipe.frames, height, height)
    return draw_noise(shape, draw_of(training, n).noise_seed, training.stage.noise.offset)


def gradient(training: StageTraining) -> Tensor:
    """Of the first two samples: of every source one."""
    training.optimizer.zero_grad()
    for n in range(2):
        draw = draw_of(training, n)
        training.draw_loss(draw, training.learned_items[draw.source]).backward()
    return flat(training)


def plain_gradient(loop: PlainLoop) -> Tensor:
    loop.optimizer.zero_grad()
    for n in range(2):
        loop.loss(n, noise_of(loop.training, n)).backward()
    return flat(loop.training)


def flat(training: StageTraining) -> Tensor:
    grads = [p.grad for p in training.trainable.parameters.values()]
    assert all(grad is not None for grad in grads)
    return torch.cat([grad.flatten() for grad in grads if grad is not None])


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def learned_training(kind: str, dtype: torch.dtype = torch.float32) -> StageTraining:
    training = random_training(kind, SIZE, CPU, dtype)
    randomize(training.trainable.parameters.values(), 0.02)
    return training


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_every_lever_are_those_of_the_plain_loop(kind):
    training = learned_training(kind)
    loop = PlainLoop(training, None, autocast=False)
    training.unet.enable_gradient_checkpointing()
    expected = plain_gradient(loop)
    training.unet.disable_gradient_checkpointing()
    assert float(expected.norm()) > 1e-3
    for tier in TIERS:
        training.tiers.set(tier)
        assert distance(gradient(training), expected) <= AGREE, tier
    training.tiers.set("none")
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH):
        with sdpa_kernel(backend):
            assert distance(gradient(training), expected) <= AGREE, backend
    training.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert distance(gradient(training), expected) <= AGREE
    half = learned_training(kind, torch.bfloat16)
    assert AGREE < distance(gradient(half), expected) <= HALF_AGREES


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_holds_what_the_encoders_say(kind):
    """The uncached plain loop, and the trainer on what those encoders would have cached."""
    training, encoders = learned_training(kind), Encoders(SIZE, CPU)
    expected = plain_gradient(PlainLoop(training, encoders, autocast=False))
    text = encoders.text()[0]
    cached = [encoders.latents(pixels) for pixels in encoders.pixels]
    training.learned_items = [
        [
            dataclasses.replace(item, latents=latents, text=text)
            for item, latents in zip(items, cached, strict=True)
        ]
        for items in training.items
    ]
    assert distance(gradient(training), expected) <= AGREE


@pytest.mark.parametrize("made", [motion_recipe(), spatial_recipe()], ids=KINDS)
def test_compiled_segments_have_the_gradients_of_written_ones(made):
    """Traced, differentiated and partitioned as always; only the code generator is left out."""
    training = new_training(made)
    randomize(training.trainable.parameters.values(), 0.05)
    expected = gradient(training)
    compiling.compile_segments(training.tiers, backend="aot_eager_decomp_partition")
    for tier in ("none", "all"):
        training.tiers.set(tier)
        assert distance(gradient(training), expected) <= AGREE, tier
    training.tiers.compile(False)
    assert torch.equal(gradient(training), expected)


@pytest.mark.parametrize("made", [motion_recipe(), spatial_recipe()], ids=KINDS)
def test_loss_curves_of_200_steps_overlap(made):
    made = dataclasses.replace(made, tier="all")
    ours, plain = new_training(made), PlainLoop(new_training(made), None, autocast=False)
    plain.training.tiers.set("none")
    losses = []
    for n in range(200):
        loss = plain.loss(n, noise_of(plain.training, n))
        loss.backward()
        values = list(plain.training.trainable.parameters.values())
        torch.nn.utils.clip_grad_norm_(values, made.clip_norm)
        plain.optimizer.step()
        plain.optimizer.zero_grad()
        losses.append(loss.item())
    for expected in losses:
        assert ours.advance().loss == pytest.approx(expected, rel=CURVES_AGREE)
    assert sum(losses[-50:]) < sum(losses[:50])


def numbers(steps) -> list:
    return [dataclasses.replace(step, seconds=0.0, loss=str(step.loss)) for step in steps]


@pytest.mark.parametrize("spoiled", [0, 1])
@pytest.mark.parametrize("behind", [1, 3])
def test_steps_read_late_are_the_steps_read_at_once(behind, spoiled, monkeypatch):
    from helpers import small

    copies = {
        name: dataclasses.replace(
            made,
            items=tuple(dataclasses.replace(i, latents=i.latents.clone()) for i in made.items),
        )
        for name, made in small.sets().items()
    }
    monkeypatch.setattr(small, "sets", lambda: copies)
    for item in copies["frames"].items[:spoiled]:
        item.latents[...] = math.nan
    at_once, late = new_training(motion_recipe(ema=0.9)), new_training(motion_recipe(ema=0.9))
    expected = [at_once.advance() for _ in range(6)]
    read = []
    for n in range(6):
        late.launch()
        read += late.read(behind)
        assert len(read) == max(0, n + 1 - behind)
    read += late.read()
    assert [step.skipped for step in read].count(True) == 2 * spoiled
    # NaN is not itself, so a loss that is none is compared by its name.
    plain = [dataclasses.replace(s, loss_average=0.0, grad_norm=0.0) for s in numbers(expected)]
    assert [dataclasses.replace(s, loss_average=0.0, grad_norm=0.0) for s in numbers(read)] == plain
    assert str([s.loss_average for s in read]) == str([s.loss_average for s in expected])
    assert str([s.grad_norm for s in read]) == str([s.grad_norm for s in expected])
    ours, theirs = late.checkpoint(), at_once.checkpoint()
    for part in ("tensors", "optimizer", "average"):
        assert differences(getattr(ours, part), getattr(theirs, part)) == []


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize("ahead", [1, 4])
def test_a_worker_ahead_of_its_device_reports_and_keeps_the_same(
    tmp_path, files, monkeypatch, ahead
):
    made = motion_recipe(held_out_every=3, save_every=4, steps=7)
    jobs = [new_job(tmp_path / str(n), made, files) for n in (0, ahead)]
    assert run_job(jobs[0]) == FINISHED
    monkeypatch.setitem(compiling.AHEAD, "cpu", ahead)
    assert run_job(jobs[1]) == FINISHED
    told = [[(e["event"], e["step"]) for e in job.read_events()] for job in jobs]
    assert told[0] == told[1]
    assert curve(jobs[0]) == curve(jobs[1])
    assert differences(learned(jobs[0]), learned(jobs[1])) == []


class AsksForNumbers(TorchDispatchMode):
    """Counts the questions for which a host would have to wait for a card."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default or "nonzero" in str(func):
            self.asked.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("made", [motion_recipe(ema=0.9), spatial_recipe()], ids=KINDS)
def test_a_step_asks_the_device_for_no_number(made):
    training = new_training(made)
    training.advance()
    with AsksForNumbers() as mode:
        training.launch()
        training.launch()
    assert mode.asked == []
    with AsksForNumbers() as mode:
        assert len(list(training.read())) == 2
        assert bool(training.unet.conv_in.weight.isfinite().all())
    assert mode.asked  # a question is seen


def trial(steps_left: int, before: float, after: float) -> MemoryTiers:
    """The tiers of a run whose steps took so long before and after compiling."""
    tiers = MemoryTiers(new_training(motion_recipe()).unet)
    watched = CompileTrial(tiers, CPU)
    assert not watched.open
    watched.open = True  # as on a card
    for _ in range(3 * (compiling.WARM + compiling.TIMED)):
        watched.look(after if tiers.compiled else before, steps_left)
    assert not watched.open
    return tiers


def test_a_run_is_compiled_where_it_pays_and_stays_so_where_it_is_faster():
    assert not trial(steps_left=600, before=0.1, after=0.05).compiled  # too short
    assert trial(steps_left=4000, before=0.5, after=0.4).compiled
    assert not trial(steps_left=4000, before=0.5, after=0.5).compiled  # tried in vain
    assert not can_compile(CPU)
    assert pays(0.5, 4000)
    assert not pays(0.5, 40)


def test_what_fails_compiled_is_run_as_written():
    written, training = new_training(motion_recipe()), new_training(motion_recipe())

    def broken(_graph, _inputs):
        raise RuntimeError("no compiler here")

    compiling.compile_segments(training.tiers, backend=broken)
    for _ in range(2):
        ours, expected = training.advance(), written.advance()
        assert (ours.loss, ours.grad_norm) == (expected.loss, expected.grad_norm)
    assert not training.tiers.compiled
    assert not training.trial.open


def test_an_error_of_the_network_as_written_is_told():
    training = new_training(motion_recipe())

    def hook(_module, _inputs):
        raise RuntimeError("the card fell off the bus")

    training.unet.conv_in.register_forward_pre_hook(hook)
    with pytest.raises(RuntimeError, match="fell off the bus"):
        training.advance()
    assert training.step == 0


def test_the_benchmark_measures_every_kind_and_claims_nothing_it_did_not():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks"), "training", "--quick", "--json"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
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
