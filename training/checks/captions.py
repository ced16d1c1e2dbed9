"""What would spoil a training, said before it begins: clips and captions.

Whether a caption names a motion cannot be known without understanding it. What is asked here is
less: a word that the description of the appearance does not have, or, without a description, one
that looks like an English verb of motion. A caption in another alphabet passes. A recipe with
``check_captions`` off skips all that is about words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...common.errors import UserError
from ..recipes.recipe import Recipe, Source, Stage
from ..sets.store import Item, LoadedSet
from .clips import check_lengths, refuse_stills


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_EMPTY = _words(
    "a an the this that these those and or but of in on at to from by with for as is are was were"
    " be been being it its his her their there then while very some one two video clip film"
)
# Verbs of motion in their plain form, and the directions of a camera or a shape.
_MOTIONS = _words(
    "walk run jump dance sing swim fly fall climb crawl roll spin turn twist rotate shake nod wave"
    " clap kick throw catch hit push pull lift drop swing slide skate ski surf ride drive sail row"
    " move go come pass cross follow chase rise sink float drift flow pour burn melt grow shrink"
    " open close bounce hop skip sit stand lie lean bend bow stretch reach point look play talk"
    " speak laugh smile cry eat drink bite bark roar blink breathe sleep wake work write draw cook"
    " cut dig hug kiss fight punch shoot zoom pan tilt orbit zigzag stop start left right"
    " up down forward backward forwards backwards around away"
)
_ING = _words(
    "thing king ring wing string spring sling morning evening building ceiling painting clothing"
    " nothing something anything everything during wedding earring"
)
_COMMON = _words(
    "man woman person people boy girl child dog cat horse bird fish animal hand face head hair body"
    " arm leg car bus train boat plane bike road street city house room door window table tree"
    " flower grass water sea river lake sky sun moon star light night day red green blue yellow"
    " black white brown orange pink big small old young new good bad fast slow happy sad motion"
    " movement move gesture sign action style photo picture image camera world thing"
)


def check_recipe(recipe: Recipe, sets: Mapping[str, LoadedSet]) -> None:
    """Raise UserError for the first thing that would spoil a training on these cached sets."""
    for stage in recipe.stages:
        for source in stage.sources:
            items = sets[source.set].items
            if source.single and len(items) != 1:
                raise UserError(
                    f"the set {source.set!r}", f"{len(items)} clips", "exactly one",
                    "Leave one in its folder; NewMove is the method for several.",
                )  # fmt: skip  # subject, found, expected, next move
            if source.moves:
                refuse_stills(items)
            check_lengths(source, items, recipe.frames)
    if recipe.check_captions:
        _check_motion_word(recipe)
        for index, stage in enumerate(recipe.stages):
            looks = " ".join(_captions(recipe.stages[:index], sets))
            for source in stage.sources:
                for item in sets[source.set].items:
                    _check_caption(recipe, source, item, looks if index else None)


def _captions(stages: tuple[Stage, ...], sets: Mapping[str, LoadedSet]) -> list[str]:
    return [
        source.prompt or item.caption
        for stage in stages
        for source in stage.sources
        for item in sets[source.set].items
    ]


def _check_caption(recipe: Recipe, source: Source, item: Item, looks: str | None) -> None:
    caption = source.prompt or item.caption
    subject, word = f"{item.source}: caption {caption[:60]!r}", recipe.token.lower()
    if source.says == "motion" and not names_motion(caption, looks):
        expected = (
            "a word that its description of the appearance lacks" if looks else "a word of it"
        )
        raise UserError(
            subject, "nothing about a motion", f"{expected}, such as 'walking' or 'turns'",
            "Say what moves how; or turn check_captions off, if it does.",
        )  # fmt: skip  # subject, found, expected, next move
    if source.says == "token" and word not in words_of(caption):
        raise UserError(
            subject, f"no {recipe.token!r}", "the token that stands for the motion",
            f"Write, for example, 'a person doing the {recipe.token}'.",
        )  # fmt: skip  # subject, found, expected, next move
    if source.says == "anything" and word and word in words_of(caption):
        raise UserError(
            subject, f"the token {recipe.token!r}", "it in the clips of the motion alone",
            "Choose a token that no other caption has.",
        )  # fmt: skip  # subject, found, expected, next move


def _check_motion_word(recipe: Recipe) -> None:
    if recipe.token and is_common(recipe.token):
        raise UserError(
            "token", f"the common word {recipe.token!r}", "a rare one, such as 'sks' or 'pll'",
            "A word that means something already would lose that: make one up.",
        )  # fmt: skip  # subject, found, expected, next move


def words_of(text: str) -> list[str]:
    """Words in lower case, without the signs around them."""
    return re.findall(r"[^\W_]+(?:[-'*][^\W_]+)*\*?", text.lower())


def names_motion(caption: str, looks: str | None) -> bool:
    """Whether a caption can be said to name a motion; looks: the appearance part, if known."""
    words = set(words_of(caption)) - _EMPTY
    if looks:
        return bool(words - set(words_of(looks)))
    return any(not word.isascii() or _is_motion(word) for word in words)


def is_common(motion_word: str) -> bool:
    """Whether it is a word that people use: of a short list, which holds no rare ones."""
    word = motion_word.lower()
    return word in _EMPTY | _COMMON | _ING or (word.isascii() and _is_motion(word))


def _is_motion(word: str) -> bool:
    if word.endswith("ing") and len(word) >= 5:
        return word not in _ING
    stems = {word, *(word.removesuffix(end) for end in ("s", "es", "ed", "d"))}
    stems |= {stem[:-1] for stem in stems if len(stem) > 3 and stem[-1:] == stem[-2:-1]}  # hopped
    stems |= {f"{word.removesuffix('ies')}y", f"{word.removesuffix('ied')}y"}  # flies, cried
    return bool(stems & _MOTIONS)
