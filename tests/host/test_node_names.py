"""Whatever reads like a node's name, in a message or a page, is the name that the node shows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import nodes
from helpers.host.examples import NAMES, ui_form
from helpers.texts import DOCS, ENGLISH, ROOT, main_texts
from still_moving.nodes import NODES
from still_moving.nodes.shared import folders

folders.register()  # the nodes list its files
OURS = {node.GET_SCHEMA().display_name for node in NODES}
# What core calls its nodes now, and called them in older versions.
CORE = {*nodes.NODE_DISPLAY_NAME_MAPPINGS.values(), "Load LoRA", "KSampler (Advanced)"}
# What the node search calls the subgraph blueprints, without the pack's name before it.
BLUEPRINTS = {path.stem.removeprefix("Still-Moving ") for path in (ROOT / "subgraphs").iterdir()}
TERMS = {"Motion Adapter", "Motion Adapters", "Motion LoRA", "Motion LoRAs", "Context Options"}
VERBS = {name.split()[0] for name in OURS if " " in name}
CODE = ("nodes", "adapters", "training", "common", "cli", "worlds", "demo")
# Words with a capital, one after the other, with what a name of ours may have between them.
PHRASE = re.compile(r"\b[A-Z][\w-]*(?: (?:from |as )?[A-Z][\w-]*)+(?: \([\w-]+\))?")


def names_in(text: str) -> Iterator[str]:
    """What reads like the name of a node: it begins as one of ours, first or second in a row."""
    for phrase in PHRASE.findall(" ".join(text.split())):
        words = phrase.split(" ")
        if words[0] not in VERBS:  # how a sentence begins
            words = words[1:]
        if words[0] in VERBS and len(words) > 1:
            yield " ".join(words)


def strings_of(path: Path) -> Iterator[str]:
    """The strings of a Python file that people may read; a filled-in part is a gap."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {
        id(value)
        for node in ast.walk(tree)
        for value in (
            node.values
            if isinstance(node, ast.JoinedStr)
            else [node.value]
            if isinstance(node, ast.Expr)  # a docstring
            else []
        )
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            pieces = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
            yield "".join(map(str, pieces))
        elif isinstance(node, ast.Constant) and id(node) not in parts:
            yield str(node.value)


def wrong_names(texts: list[str]) -> set[str]:
    found = {name for text in texts for name in names_in(text)}
    return {name for name in found if name not in OURS | CORE | TERMS | BLUEPRINTS}


@pytest.mark.parametrize("folder", CODE)
def test_messages_name_nodes_as_they_are_shown(folder):
    texts = [text for path in (ROOT / folder).rglob("*.py") for text in strings_of(path)]
    assert wrong_names(texts) == set()


def test_what_the_pages_of_comfyui_say():
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "web" / "js").glob("*.js")]
    assert wrong_names([*texts, *leaves(main_texts("en")), *leaves(ENGLISH)]) == set()


def leaves(entry) -> list[str]:
    if isinstance(entry, dict):
        return [text for value in entry.values() for text in leaves(value)]
    return [entry]


PAGES = [ROOT / "README.md", *DOCS.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_names_nodes_as_they_are_shown(path):
    text = re.sub(r"(?m)^(#.*)$", r"\1\n\n", path.read_text(encoding="utf-8"))
    assert wrong_names(re.split(r"\n\s*\n|\n[-|]|[|*`]", text)) == set()


@pytest.mark.parametrize("name", NAMES)
def test_the_notes_of_an_example_name_nodes_as_they_are_shown(name):
    form = ui_form(name)
    notes = [n["widgets_values"][0] for n in form["nodes"] if n["type"] == "MarkdownNote"]
    lines = [line for note in notes for line in re.split(r"\n|[*`]", note)]
    titles = {node.get("title") for node in form["nodes"]}
    assert wrong_names(lines) - titles == set()


def test_the_law_sees_what_it_is_for():
    for text in (
        "Put Context Windows (Still-Moving) before the sampler.",
        "Use Apply Motion LoRA.",
        "Load Motion Modules first.",
    ):
        assert len(wrong_names([text])) == 1
    assert wrong_names(["Put Context Windows before it, and Load Shapes World (demo)."]) == set()
