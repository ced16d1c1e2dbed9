"""What a job's process is to do now: what the artist wants comes before what sharing asks.

Standard library alone.
"""

from __future__ import annotations

from typing import Literal

from .job import Control, Sharing

Wish = Literal["run", "keep", "yield", "pause", "stop", "leave"]
PATIENCE_S = 600.0  # a job that waits longer gives its memory back too: it leaves the process
GOING = ("run", "stop", "leave")  # wishes that are not waits


def wish_of(control: Control, sharing: Sharing) -> Wish:
    """Of a job's two files."""
    if control.wanted == "stop":
        return "stop"
    if sharing == "leave":
        return "leave"
    return "pause" if control.wanted == "pause" else sharing
