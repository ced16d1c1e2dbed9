"""Threads wait briefly in what the pack starts; what an artist has chosen stays."""

import subprocess
import sys

import pytest

from helpers.small import PATIENCE_S, command, environment
from still_moving.common.threads import BRIEF, brief_waits
from still_moving.worlds.shapes.files import BASE, WEIGHTS

CHOICES = [*BRIEF, "OMP_WAIT_POLICY"]


@pytest.mark.parametrize("name", CHOICES)
def test_an_artist_s_choice_stays_alone(name):
    assert brief_waits({"PATH": "x", name: "active"}) == {}
    assert brief_waits({"PATH": "x"}) == BRIEF


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has GNU's OpenMP in PyTorch")
@pytest.mark.parametrize("chosen", ["", "7777"])
def test_openmp_has_read_it_when_a_command_loads_torch(chosen):
    """What OpenMP itself says. Every worker is such a command, the queue's too."""
    ((name, ours),) = BRIEF.items()
    own = {"OMP_DISPLAY_ENV": "VERBOSE"} | ({name: chosen} if chosen else {})
    inherited = {k: v for k, v in environment().items() if k not in CHOICES}
    done = subprocess.run(
        command("inspect", WEIGHTS / BASE),
        env=inherited | own,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    told = done.stderr.replace("'", "").replace(" ", "")
    assert f"{name}={chosen or ours}" in told
