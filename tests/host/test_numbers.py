"""The example workflows on several prompts: they show what the method promises, from pixels."""

import pytest
from measured import PROMPTS, clips_of, fidelity, motion

from still_moving.demo import world
from still_moving.demo.evaluate import Clips


@pytest.fixture(scope="module")
def slider(server) -> dict[str, Clips]:
    return clips_of(server, "motion_slider")


def test_the_slider_freezes_moves_and_moves_more(slider):
    still, _, base, _, more = (motion(slider[f"motion_slider_{i}"]) for i in range(1, 6))
    assert still <= 0.25 * base
    assert more >= 1.15 * base
    right = sum(m.correct for m in slider["motion_slider_3"].measures)
    assert right >= PROMPTS - 1


@pytest.fixture(scope="module")
def customized(server) -> dict[str, Clips]:
    return clips_of(server, "customized_clip", world.STYLE_TOKEN)


def test_the_spatial_adapter_costs_no_motion(customized):
    assert motion(customized["still_moving"]) >= 0.8 * motion(customized["injected"])


def test_the_spatial_adapter_keeps_the_motion(customized, slider):
    assert motion(customized["still_moving"]) >= 0.8 * motion(slider["motion_slider_3"])


def test_the_spatial_adapter_beats_injection(customized):
    assert fidelity(customized["still_moving"]) > fidelity(customized["injected"])
