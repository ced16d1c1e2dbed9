"""The example workflows on several prompts: they show what the method promises, from pixels."""

import pytest

from helpers.host.measured import PROMPTS, clips_of, fidelity, motion
from still_moving.demo import world
from still_moving.demo.evaluate import Clips
from still_moving.demo.measure import measure

pytestmark = pytest.mark.weights
STILL, BASE, MORE = (f"motion_slider_{number}" for number in (1, 3, 5))  # scales 1, 0 and -1
BURST = "motion_slider_burst"


@pytest.fixture(scope="module")
def slider(server) -> dict[str, Clips]:
    return clips_of(server, "motion_slider", only=(STILL, BASE, MORE, BURST))


def test_the_slider_freezes_moves_and_moves_more(slider):
    still, base, more = (motion(slider[name]) for name in (STILL, BASE, MORE))
    assert still <= 0.25 * base
    assert more >= 1.15 * base
    right = sum(m.correct for m in slider[BASE].measures)
    assert right >= PROMPTS - 1


def test_a_clip_stands_still_then_bursts_into_motion(slider):
    scenes = world.spread(world.all_scenes(world.BASE_LOOKS), PROMPTS)

    def moves(name: str, frames: slice) -> float:
        clips = [clip[frames] for clip in slider[name].frames]
        return sum(measure(c, s).motion for c, s in zip(clips, scenes, strict=True)) / PROMPTS

    first, last = slice(0, 4), slice(4, 8)
    assert moves(BURST, first) <= 0.6 * moves(BASE, first)
    assert moves(BURST, last) >= moves(BASE, last)


@pytest.fixture(scope="module")
def customized(server) -> dict[str, Clips]:
    return clips_of(server, "customized_clip", world.STYLE_TOKEN)


def test_the_spatial_adapter_costs_no_motion(customized):
    assert motion(customized["still_moving"]) >= 0.8 * motion(customized["injected"])


def test_the_spatial_adapter_keeps_the_motion(customized, slider):
    assert motion(customized["still_moving"]) >= 0.8 * motion(slider[BASE])


def test_the_spatial_adapter_beats_injection(customized):
    assert fidelity(customized["still_moving"]) > fidelity(customized["injected"])
