"""A stage's steps on a card against the same on the CPU: losses, gradients, values; who waits."""

from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor

from helpers import card, reference_clips, small
from helpers.card.bus import Watch
from helpers.small import motion_recipe, spatial_recipe
from still_moving.training.stage.loop import StageTraining

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
OWN = {
    "motion": motion_recipe(),
    "motion, batch, average": motion_recipe(batch=2, ema=0.9),
    "layers": spatial_recipe(),
    "blocks": spatial_recipe(sites="blocks"),
    "all": spatial_recipe(sites="all"),
    "all, average": spatial_recipe(sites="all", ema=0.9),
    "no motion adapter": spatial_recipe(motion_adapter=False),
    "no natural clips": spatial_recipe(natural_clips=False),
    "prior at scale 1": spatial_recipe(prior_scale=1.0),
}
# Recipe and stage; the first stage of Customize-A-Video trains its absorber, the second motion,
# which is the same for every absorber.
STAGES = [(name, 0) for name in (*OWN, *reference_clips.RECIPES)] + [("customize", 1)]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Relative differences that may be: of losses before the first update and after, of the gradients
# of the first step. A card adds halves up in fp32, a CPU in halves; AdamW's first updates have the
# size of the learning rate whatever a gradient's is, so what is noise near zero grows in them.
BEFORE = {torch.float32: 1e-5, torch.bfloat16: 0.01, torch.float16: 0.004}
AFTER = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.02}
GRADIENT = {torch.float32: 1e-4, torch.bfloat16: 0.2, torch.float16: 0.05}
VALUES = 0.01  # in fp32, after three such updates


def new_training(name: str, index: int, dtype: torch.dtype, device: torch.device) -> StageTraining:
    if name in OWN:
        return small.new_training(OWN[name], dtype, device)
    recipe = reference_clips.RECIPES[name]
    # Crops of single frames: half of a side of four would leave its norms two numbers to average,
    # and then halves are off by half from fp32 on any device.
    cropped = any(source.view == "frame" for source in recipe.stages[index].sources)
    sets = clip_sets() if cropped else reference_clips.SETS
    return reference_clips.new_training(recipe, index, dtype, device, sets)


@cache
def clip_sets():
    return reference_clips.clip_sets(size=8)


@dataclass
class Life:
    """Three steps of a stage: losses before, of and after them; the gradients of the first."""

    training: StageTraining
    losses: list[float]
    gradients: Tensor
    seen: Watch | None


def lived(training: StageTraining) -> Life:
    gradients: list[Tensor] = []
    values = training.trainable.parameters.values()

    def keep(*_step: object) -> None:
        if not gradients:
            gradients.extend(v.grad.flatten().cpu() for v in values if v.grad is not None)

    training.optimizer.register_step_pre_hook(keep)
    losses, seen = [training.held_out_loss()], None
    training.launch()  # makes AdamW's state, and asks for the card's memory
    if training.device == CUDA:
        with card.watch() as seen:
            training.launch()
            training.launch()
    else:
        training.launch()
        training.launch()
    steps = list(training.read())
    assert not any(step.skipped for step in steps)
    losses += [step.loss for step in steps]
    return Life(training, [*losses, training.held_out_loss()], torch.cat(gradients), seen)


@pytest.fixture(
    scope="module",
    params=[(*stage, dtype) for stage in STAGES for dtype in DTYPES],
    ids=lambda param: f"{param[0]}-{param[1]}-{str(param[2]).removeprefix('torch.')}",
)
def on_card(request) -> tuple[Life, Life]:
    """A stage on the card, and the same on the CPU."""
    name, index, dtype = request.param
    here, there = (lived(new_training(name, index, dtype, device)) for device in (CUDA, CPU))
    return here, there


def test_a_card_trains_what_the_cpu_trains(on_card, note_difference):
    here, there = on_card
    dtype = here.training.dtype
    pairs = zip(there.losses, here.losses, strict=True)
    before, first, *after = (abs(one - other) / abs(one) for one, other in pairs)
    gradients = relative(there.gradients, here.gradients)
    values = max(relative(v, here.training.values()[n]) for n, v in there.training.values().items())
    found = {"before": max(before, first), "after": max(after), "gradient": gradients}
    for name, difference in {**found, "values": values}.items():
        note_difference(f"{name}, {dtype}", difference)
    assert found["before"] <= BEFORE[dtype]
    assert found["after"] <= AFTER[dtype]
    assert gradients <= GRADIENT[dtype]
    assert dtype != torch.float32 or values <= VALUES


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other.cpu()).norm() / one.norm())


def test_no_step_waits_for_the_card(on_card):
    seen = on_card[0].seen
    assert seen.stalls == {}
    assert seen.counted["h2d"] > 0  # the samples went over


def test_all_of_it_is_on_the_card_and_what_is_trained_is_fp32(on_card):
    training = on_card[0].training
    beside = [p for module in training.trainable.beside for p in module.parameters()]
    state = [v for entry in training.optimizer.state.values() for v in entry.values()]
    average = list(training.average.values())
    trained = list(training.trainable.parameters.values())
    everything = [*training.unet.parameters(), *beside, *state, *average, *trained]
    assert {tensor.device for tensor in everything} == {CUDA}
    assert {tensor.dtype for tensor in [*trained, *state, *average]} == {torch.float32}
