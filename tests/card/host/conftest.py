"""Boots ComfyUI on the pretended card, with DynamicVRAM, in fp32; every test here runs on it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from helpers import card
from helpers.host.boot import boot, why_not
from helpers.unrun import collector

REASON = why_not()
if card.inside() and not REASON:
    # ComfyUI reads its options when it is imported, so this cannot wait for a fixture.
    boot("--fp32-unet")

# Without a card the folder above says so.
pytest_pycollect_makemodule = collector(REASON if card.inside() else "")


@pytest.fixture
def on_cpu():
    """``with on_cpu():`` ComfyUI takes the CPU for its device, as under ``--cpu``."""
    import comfy.memory_management as memory
    import comfy.model_management as management

    @contextmanager
    def switched() -> Iterator[None]:
        before, management.cpu_state = management.cpu_state, management.CPUState.CPU
        memory.aimdo_enabled = False
        try:
            yield
        finally:
            management.cpu_state, memory.aimdo_enabled = before, True

    yield switched
    management.unload_all_models()
    management.soft_empty_cache()
