"""How the threads of one computation wait for each other. Only the standard library.

PyTorch computes with OpenMP's threads, which meet many hundred times a step. Whoever comes first
spins for a while before it sleeps. Where another program computes on the same cores, one of them is
often not running, and the others spin away the time that it needs: single steps become many times
slower than the others. Sleeping at once costs much where nothing else computes, and spinning for a
hundredth of a millisecond little either way: ``python benchmarks training.load`` measures it.
"""

from __future__ import annotations

from collections.abc import Mapping

# GNU's OpenMP, in PyTorch for Linux, waits 3 ms, by its estimate of 100,000 rounds to each. Intel's
# and LLVM's, in PyTorch for Windows and macOS, keep their 200 ms: of what they offer instead, whole
# milliseconds and none at all, nothing was gentler.
BRIEF = {"GOMP_SPINCOUNT": "1000"}
_CHOICES = (*BRIEF, "OMP_WAIT_POLICY")


def brief_waits(environment: Mapping[str, str]) -> dict[str, str]:
    """What a process needs in its environment, before PyTorch is loaded, for brief waits.

    Nothing where its environment has made a choice of its own.
    """
    return {} if any(name in environment for name in _CHOICES) else dict(BRIEF)
