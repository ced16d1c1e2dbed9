"""Figures that people read: what code decides is the code's, what is measured has a command.

A claim is a sentence on a page: wherever its pattern is found, in at least one place, the numbers
are these, rounded as the page rounds them. What training takes of a card on the help pages is held
by benchmarks/test_memory.py, the schedules to try by benchmarks/test_sliders.py.
"""

import inspect
import re
from functools import cache
from typing import NamedTuple

import pytest
import torch

from helpers.real_size import MOTION_MODULES, hollow, motion_shapes, sd15_shapes
from helpers.texts import ENGLISH, LOCALES, ROOT, node_texts
from still_moving.adapters import meter
from still_moving.adapters.files.checkpoint import UNetWeights
from still_moving.adapters.files.keys import SD15
from still_moving.adapters.files.motion_module import MotionModule, recognize
from still_moving.benchmarks.card.parts import Places, full_parts
from still_moving.common.names import MOST_NAME
from still_moving.demo import evaluate, world
from still_moving.demo.parts import Plan
from still_moving.training.checks.budget import budget
from still_moving.training.network import compiling
from still_moving.training.queue.history import POINTS
from still_moving.training.queue.supervisor import Supervisor
from still_moving.training.recipes.presets import PRESETS, make_recipe
from still_moving.training.recipes.recipe import Recipe
from still_moving.training.text.learned_words import MOST_TOKENS
from still_moving.worlds.shapes.files import CLIPS, NATURAL_CLIPS
from still_moving.worlds.shapes.latents import FACTOR

GIB, GB = 2**30, 10**9


class Claim(NamedTuple):
    """Pages, the sentence with a group for each number, and the numbers."""

    pages: str
    sentence: str
    numbers: tuple[float, ...]


def paper(kind: str, **chosen) -> Recipe:
    words = {"motion_word": "pll"} if kind == "newmove" else {}
    return make_recipe(kind, "paper", **words, **chosen)


@cache
def module(version: str) -> MotionModule:
    tensors = hollow(motion_shapes(version))
    return MotionModule(recognize(version, tensors), tensors, "", version)


def needs(kind: str, **chosen) -> float:
    """GiB of SD1.5 with the motion module v2, without activations."""
    unet = UNetWeights(hollow(sd15_shapes()), SD15, "sd15", "", "sd15")
    recipe = paper(kind, **chosen)
    return budget(unet, module("v2"), recipe, len(recipe.stages) - 1, torch.float16).total / GIB


def size(shapes: dict[str, tuple[int, ...]], bytes: int) -> float:
    """GB of a file with numbers of so many bytes."""
    return sum(torch.Size(shape).numel() for shape in shapes.values()) * bytes / GB


def recipes() -> list[Claim]:
    """The numbers of the two adapters' trainers."""
    motion, spatial = (paper(kind).stages[0] for kind in ("motion", "spatial"))
    table = [
        Claim(
            f"web/docs/StillMovingTrain{kind.capitalize()}Adapter.md",
            rf"\| \*{preset}\* \| (\S+) \| (\S+) \| (\S+) \|",
            (recipe.stages[0].steps, recipe.stages[0].lr, recipe.frames),
        )
        for kind in ("motion", "spatial")
        for preset in PRESETS[kind]
        for recipe in [make_recipe(kind, preset)]
    ]
    ranks = motion.rank, motion.steps, spatial.rank, spatial.steps
    return [
        *table,
        Claim(
            "README.md",
            r"rank (\d+) and (\d+) steps for the Motion Adapter, rank (\d+) and (\d+) steps for the"
            r" Spatial Adapter, learning rate (\S+), noise offset ([\d.]+)\.",
            (*ranks, spatial.lr, spatial.noise.offset),
        ),
        Claim("web/docs/*TrainMotionAdapter.md", r"The paper's is (\d+)\.", (motion.rank,)),
        Claim("web/docs/*TrainSpatialAdapter.md", r"The paper's is (\d+);", (spatial.rank,)),
    ]


def methods() -> list[Claim]:
    """The numbers of the trainer of motion from clips."""
    video, vmc, newmove = (paper(k).stages[-1] for k in ("customize-a-video", "vmc", "newmove"))
    absorbing = [
        paper("customize-a-video", absorber=absorber, words=words).stages[0].steps
        for absorber, words in (("lora", ()), ("words", ("red", "cat")))
    ]
    lora = paper("newmove", full=False).stages[-1]
    return [
        Claim("web/docs/*.md", r"(\d+) for \*lora\*, (\d+) with words", tuple(absorbing)),
        Claim("web/docs/*.md", r"\*both\*: 2 to (\d+) from both captions", (MOST_TOKENS,)),
        Claim(
            "locales/en/nodeDefs.json",
            r"steps: (\d+) for Customize-A-Video, (\d+) for VMC, (\d+) for NewMove",
            (video.steps, vmc.steps, newmove.steps),
        ),
        Claim(
            "locales/en/nodeDefs.json",
            r"Of a LoRA: (\d+), or (\d+) for NewMove",
            (video.rank, lora.rank),
        ),
        Claim(
            "locales/en/nodeDefs.json",
            r"Learning rate: (\S+), or (\S+) for NewMove in full",
            (video.lr, newmove.lr),
        ),
    ]


def memory() -> list[Claim]:
    """What is counted from the layers of SD1.5 and its motion modules."""
    video, vmc, newmove = map(needs, ("customize-a-video", "vmc", "newmove"))
    small, word = needs("vmc", sites="temporal.qkv"), needs("newmove", full=False)
    table = (ROOT / "docs" / "results" / "tables" / "memory.md").read_text(encoding="utf-8")
    weights, adamw = re.findall(r"\| spatial \| 512 \| none \| (\S+) \| (\S+) \|", table)[0]
    spatial = (float(weights) + float(adamw)) * GB / GIB
    sizes = [size(motion_shapes(version), 2) for version in MOTION_MODULES]
    return [
        Claim("README.md", r"\| Spatial Adapter \|.*?\| ([\d.]+) GiB \|", (spatial,)),
        Claim("README.md", r"\| Motion Adapter \|.*?\| ([\d.]+) GiB \|", (needs("motion"),)),
        Claim("README.md", r"\| Customize-A-Video \|.*?\| ([\d.]+) GiB \|", (video,)),
        Claim("README.md", r"([\d.]+) GiB; as LoRA ([\d.]+) \| \| a word", (vmc, small)),
        Claim("README.md", r"a word .*?([\d.]+) GiB; as LoRA ([\d.]+) \|", (newmove, word)),
        Claim(
            "web/docs/*.md",
            r"([\d.]+) GiB for Customize-A-Video, ([\d.]+) to ([\d.]+) for any LoRA, ([\d.]+) for"
            r" VMC, ([\d.]+) for NewMove in full",
            (video, small, word, vmc, newmove),
        ),
        Claim("web/docs/*.md", r"([\d.]+) GB for SD1.5 in fp16", (size(sd15_shapes(), 2),)),
        Claim("web/docs/*.md", r"beside it, ([\d.]+) to ([\d.]+) GB", (min(sizes), 2 * max(sizes))),
        Claim("web/docs/*.md", r"512x512 takes (\d+) MB per frame", (512 * 512 * 3 * 4 / 1e6,)),
    ]


def limits() -> list[Claim]:
    """What a node, a motion module or the shapes world has."""
    frames = {version: module(version).info.max_frames for version in MOTION_MODULES}
    side, kilobytes = world.SIZE * FACTOR, inspect.signature(Supervisor.log).parameters["bytes"]
    natural = len([p for p in (CLIPS / NATURAL_CLIPS).iterdir() if p.suffix != ".txt"])
    return [
        *(
            Claim("web/docs/*.md", rf"\| {version} \| `[^|]*\| (\d+) frames \|", (limit,))
            for version, limit in frames.items()
        ),
        Claim(
            "web/docs/*.md",
            r"(\d+) for v1, (\d+) for v2 and v3, (\d+) for AnimateLCM",
            (frames["v1"], frames["v2"], frames["AnimateLCM"]),
        ),
        Claim(
            "locales/en/*.json", r"limit \((\d+) or (\d+) frames\)", (frames["v1"], frames["v2"])
        ),
        Claim("web/docs/*Train*.md", r"expected 1 to (\d+) letters", (MOST_NAME,)),
        Claim(
            "web/docs/*.md", r"more than (\d+)/(\d+) of the", (meter.SEARCH, meter.COARSEST_SIDE)
        ),
        Claim("web/docs/*.md", r"(\d+)x(\d+) (?:in|for) the shapes world", (side, side)),
        Claim("web/docs/*.md", r"trained on; (\d+) in the shapes world", (world.FRAMES,)),
        Claim("web/docs/*.md", r"(?:picture|clip); (\d+) in the shapes world", (evaluate.STEPS,)),
        Claim("web/docs/*.md", r"(\d+) steps, cfg (\d+), denoise", (evaluate.STEPS, evaluate.CFG)),
        Claim("web/docs/*.md", r"demo: natural` \((\d+) clips", (natural,)),
        Claim("web/docs/*.md", r"takes [\d,]+; the demo has (\d+)\.", (Plan.natural_clips,)),
        *(
            Claim("docs/results/card.md", rf"{part.name}[^|]*\|[^|]*\| (\d+) s", (part.limit_s,))
            for part in full_parts(Places(ROOT, None, ROOT, ROOT))
        ),
        Claim("docs/api.md", r"at most (\d+) points over the whole run", (POINTS,)),
        Claim("docs/api.md", r"newest (\d+) kB", (kilobytes.default / 1024,)),
        Claim(
            "docs/results/training_speed.md",
            r"\(([\d.]+) of the time left is more than (\d+) s\)",
            (compiling.GAIN, compiling.COST_S),
        ),
    ]


@pytest.mark.parametrize("claims", [recipes, methods, memory, limits])
def test_figures_are_the_codes(claims):
    wrong = [claim for claim in claims() if not holds(claim)]
    assert wrong == []


def holds(claim: Claim) -> bool:
    texts = [" ".join(p.read_text(encoding="utf-8").split()) for p in ROOT.glob(claim.pages)]
    found = [match for text in texts for match in re.finditer(claim.sentence, text)]
    return bool(found) and all(
        same(said, number)
        for match in found
        for said, number in zip(match.groups(), claim.numbers, strict=True)
    )


def same(said: str, number: float) -> bool:
    """Whether a page's number is this one, to the digits that it shows."""
    digits = len(said.partition(".")[2]) if "e" not in said else 12
    return float(said) == round(number, digits)


def test_the_law_sees_another_number():
    (claim,) = (c for c in limits() if c.sentence.startswith(r"newest"))
    assert holds(claim)
    assert not holds(claim._replace(numbers=(65,)))
    assert not holds(claim._replace(sentence="nowhere (x)"))


RESULTS = sorted((ROOT / "docs" / "results").glob("*.md"))
PAGES = [*RESULTS, *(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]
COMMAND = re.compile(r"`(?:\w+=\S+ )?(?:(make) |(?:python )?(benchmarks|tools) )([\w.-]+)")


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_page_of_results_says_what_shows_it(path):
    assert COMMAND.search(path.read_text(encoding="utf-8"))


def test_commands_on_pages_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = {c for path in PAGES for c in COMMAND.findall(path.read_text(encoding="utf-8"))}
    assert {name for make, _, name in named if make} <= targets
    modules = {
        f"{folder}.{name}" if folder == "tools" or "." in name else f"{folder}.{name}.run"
        for _, folder, name in named
        if folder
    }
    assert [m for m in modules if not (ROOT / f"{m.replace('.', '/')}.py").exists()] == []


@pytest.mark.parametrize("language", sorted({path.name for path in LOCALES.iterdir()} - {"en"}))
def test_a_language_has_the_numbers_of_english(language):
    def numbers(entry: dict | str) -> dict | list[str]:
        if isinstance(entry, dict):
            return {key: numbers(value) for key, value in entry.items()}
        return sorted(re.findall(r"\d+(?:\.\d+)?(?:e-\d+)?", entry))

    assert numbers(node_texts(language)) == numbers(ENGLISH)
