"""The two commands of the README's Windows paragraph, typed as they stand there."""

import json
import re
from urllib.parse import quote

from helpers.pack import ROOT

from .checks import Checks
from .place import Place, requirements

PATIENCE_S = 2 * 3600  # the demo has one thread
KEPT = ("torch", "numpy", "transformers", "pillow", "tqdm", "psutil")


def install(place: Place, checks: Checks) -> None:
    """Add what the pack needs to ComfyUI's Python, from the wheels at hand."""
    command, _ = commands()
    added = [name.partition("==")[0] for name in requirements()[1]]
    uninstall = [place.python, "-m", "pip", "uninstall", "-q", "-y", *added]
    place.wine.run(uninstall, place.portable, lambda _line: None, PATIENCE_S)
    with checks.one(command) as words:
        before = versions(place)
        shell(place, command)
        after = versions(place)
        assert {name: after[name] for name in KEPT} == {name: before[name] for name in KEPT}
        assert set(added) <= set(after) - set(before)
        words.append(f"{len(added)} packages more, none of ComfyUI's changed")


def demo(place: Place, checks: Checks) -> None:
    """Train both adapters on the tiny world, and see that they do what they shall."""
    _, command = commands()
    with checks.one(command) as words:
        shell(place, command)
        metrics = json.loads(
            (place.pack / "demo" / "out" / "metrics.json").read_text(encoding="utf-8")
        )
        assert all(metrics["checks"].values()), metrics["checks"]
        words.append(f"{len(metrics['checks'])} checks hold")


def commands() -> list[str]:
    """What the README tells an artist to type in the portable build's folder."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^ *(python_embeded\\python\.exe .+)$", text, re.MULTILINE)
    assert len(found) == 2, found
    return found


def shell(place: Place, command: str) -> None:
    """Type a line into Windows' own shell. The wheels at hand stand for the registry."""
    lines: list[str] = []
    at_hand = f"file:///Z:{quote(str(place.wheels))}"  # pip would part a path at its spaces
    wheels = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": at_hand}
    code = place.wine.run(
        ["cmd", "/d", "/c", command], place.portable, lines.append, PATIENCE_S, wheels
    )
    assert code == 0, f"exit code {code}: {lines[-5:]}"


def versions(place: Place) -> dict[str, str]:
    """Of the packages that Windows' Python has, by name."""
    names = (path.name for path in place.packages.glob("*.dist-info"))
    pairs = (name.removesuffix(".dist-info").partition("-") for name in names)
    return {name.lower().replace("_", "-"): version for name, _, version in pairs}
