"""The view of a job: the server's type and the pages' are one, and a view has every field."""

import re
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from helpers.queue_place import add
from still_moving.training.jobs.ticket import Kind, Policy
from still_moving.training.queue.commands import COMMANDS
from still_moving.training.queue.host import JobView

PAGES = Path(__file__).resolve().parents[3] / "web" / "js" / "types.d.ts"
TYPES = {str: "string", int: "number", float: "number", bool: "boolean"}


def page_fields(name: str) -> dict[str, str]:
    """Fields of an interface in the pages' types, with the type of each."""
    text = re.sub(r"/\*.*?\*/", "", PAGES.read_text(encoding="utf-8"), flags=re.DOTALL)
    match = re.search(rf"export interface {name} {{(.*?)\n}}", text, re.DOTALL)
    assert match is not None
    return dict(re.findall(r"^  (\w+): ([^;]+);", match[1], re.MULTILINE))


def page_choices(name: str) -> set[str]:
    match = re.search(rf"export type {name} =([^;]+);", PAGES.read_text(encoding="utf-8"))
    assert match is not None
    return set(re.findall(r'"([^"]+)"', match[1]))


def test_the_pages_have_the_fields_of_the_server():
    assert set(page_fields("JobView")) == set(get_type_hints(JobView))


@pytest.mark.parametrize(("name", "hint"), get_type_hints(JobView).items())
def test_a_field_is_the_same_on_both_sides(name, hint):
    shown = page_fields("JobView")[name]
    assert ("null" in shown) == (type(None) in get_args(hint))
    plain = next((h for h in get_args(hint) if h is not type(None)), hint)
    if get_origin(hint) is list:
        assert shown.endswith("[]")
    elif get_origin(hint) is Literal:
        choices = page_choices(shown) if shown.isidentifier() and shown != "Phase" else None
        assert choices in (None, set(get_args(hint)))
    elif hint in TYPES and "|" not in shown:
        assert shown == TYPES[hint]
    elif plain in TYPES and '"' not in shown:
        assert shown == f"{TYPES[plain]} | null"


def test_the_pages_know_every_kind_policy_and_command():
    assert page_choices("Kind") == set(get_args(Kind))
    assert set(re.findall(r'"([^"]+)"', page_fields("JobView")["policy"])) == set(get_args(Policy))
    assert page_choices("Command") == set(COMMANDS)


@pytest.mark.slow
def test_a_view_has_every_field_and_no_other(place):
    view = add(place.supervisor(), "a")
    assert set(view) == set(get_type_hints(JobView))
