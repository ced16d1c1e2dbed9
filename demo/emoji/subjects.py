"""What the emoji world shows: subjects, looks, backgrounds, and the prompts that name them."""

from __future__ import annotations

from typing import NamedTuple

from ...worlds.known import EMOJI
from ...worlds.layout import FACTOR

SIZE = FACTOR * EMOJI.size  # pixels of a picture
FRAMES = EMOJI.frames  # of a clip
FRAME_MS = 125

# As the emoji standard calls them, with hyphens. All of them move visibly in the "3d" look.
ANIMALS = (
    *("butterfly", "penguin", "rabbit-face", "dolphin", "parrot", "zebra", "bear", "honeybee"),
    *("kangaroo", "raccoon", "wolf", "monkey-face", "tropical-fish", "fish", "peacock", "dove"),
    *("crab", "tiger", "lady-beetle", "cow-face", "dog-face", "spider", "lion", "lizard"),
    *("hatching-chick", "horse", "monkey", "squid", "bat", "frog", "whale", "orangutan", "fox"),
    *("lobster", "horse-face", "poodle", "cat", "cat-face", "panda", "eagle", "owl", "koala"),
    *("chicken", "skunk", "dog", "pig-face", "turtle", "giraffe", "deer", "hamster", "flamingo"),
)
FACES = (
    *("angry-face", "winking-face", "sleeping-face", "smiling-face-with-sunglasses"),
    *("clown-face", "loudly-crying-face", "nauseated-face", "cowboy-hat-face", "skull", "alien"),
    *("robot", "ghost", "jack-o-lantern", "pile-of-poo", "goblin", "snowman", "sun-with-face"),
    *("santa-claus", "baby", "genie"),
)
THINGS = (
    *("rocket", "flying-saucer", "police-car", "locomotive", "helicopter", "sailboat", "fire"),
    *("hot-beverage", "clinking-beer-mugs", "birthday-cake", "alarm-clock", "bomb", "star"),
    *("waving-hand", "clapping-hands", "thumbs-up", "red-heart", "heart-with-arrow", "rainbow"),
    *("tornado", "cloud-with-rain", "cloud-with-lightning", "snowflake", "chequered-flag"),
    *("camera-with-flash", "party-popper", "ringed-planet", "cocktail-glass"),
)
SUBJECTS = (*ANIMALS, *FACES, *THINGS)
HELD_OUT = ("unicorn", "octopus")  # of everything: the customized subjects

BASE_LOOKS = ("3d", "flat")  # that the base draws; clips are of the first alone
NEW_LOOKS = ("noto", "twemoji")  # the customized ones
LOOKS = (*BASE_LOOKS, *NEW_LOOKS)
# Rare words that customizations are called by: no prompt of the base has them.
TOKENS = {"noto": "sks", "twemoji": "zwx", "unicorn": "pll", "octopus": "vrk"}

BACKGROUNDS = {
    "white": (0.97, 0.97, 0.97),
    "grey": (0.55, 0.57, 0.60),
    "navy": (0.10, 0.13, 0.28),
    "sky": (0.62, 0.83, 0.96),
    "mint": (0.70, 0.92, 0.78),
    "rose": (0.97, 0.76, 0.80),
}


class Scene(NamedTuple):
    """What one prompt says."""

    subject: str
    look: str
    background: str

    @property
    def prompt(self) -> str:
        """The subject's words, the look, the background; customized ones by their rare word."""
        subject = TOKENS.get(self.subject, self.subject.replace("-", " "))
        return f"{subject}, {TOKENS.get(self.look, self.look)}, {self.background}"
