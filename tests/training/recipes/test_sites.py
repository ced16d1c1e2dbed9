"""The table of sites: whole, and the only names that the pack's recipes use."""

from typing import get_args

import pytest

from still_moving.training.recipes import methods, recipe
from still_moving.training.recipes.sites import SITES, SiteName

WORDS = ("red", "circle")
RECIPES = [
    recipe.motion_adapter(),
    *(recipe.spatial_adapter(sites=sites) for sites in ("layers", "blocks", "all")),
    *(
        methods.customize_a_video(absorber=absorber, words=WORDS)
        for absorber in get_args(methods.Absorber)
    ),
    *(methods.vmc(sites=s) for s in ("temporal.qkv.full", "temporal.qkv", "spatial.qkv")),
    *(
        methods.newmove(motion_word="pll", keys_values=keys_values, full=full)
        for keys_values in (True, False)
        for full in (True, False)
    ),
]


def test_the_table_has_every_name_that_a_recipe_may_use():
    assert tuple(SITES) == get_args(SiteName)


def test_the_packs_recipes_use_the_whole_table_and_nothing_else():
    assert {stage.train for recipe in RECIPES for stage in recipe.stages} == set(SITES)


@pytest.mark.parametrize("name", SITES)
def test_a_site_trains_in_one_way(name):
    site = SITES[name]
    ways = [site.lora is not None, bool(site.policy), site.parameters is not None]
    assert sum(ways) == (site.result != "embedding")
    assert any(ways) or site.words
    assert site.trains_motion_adapter == (site.result == "Motion Adapter")


@pytest.mark.parametrize("name", SITES)
def test_what_a_site_trains_is_over_time_as_it_says(name):
    """On two layers' names, one of each kind."""
    site = SITES[name]
    over_time, image = (
        f"down_blocks.0.{part}.0.transformer_blocks.0.attn2.to_k"
        for part in ("motion_modules", "attentions")
    )
    if site.lora is not None:
        assert (site.lora.has(over_time), site.lora.has(image)) == (
            site.temporal,
            not site.temporal,
        )
    if site.parameters is not None:
        assert site.parameters(f"{over_time}.weight") == site.temporal
        assert site.parameters(f"{image}.weight") == (name in ("spatial.all", "temporal.all+kv"))
