"""What people read is what the nodes say: locales and help pages against the schemas."""

import urllib.request

import pytest

from helpers.texts import ENGLISH, LOCALES, main_texts, node_texts, text_of
from still_moving.nodes import NODES
from still_moving.nodes.shared import folders

folders.register()  # the nodes list its files
SCHEMAS = {schema.node_id: schema for schema in (node.GET_SCHEMA() for node in NODES)}
PACK = "/extensions/ComfyUI-StillMoving"
LISTS = ("file", "checkpoint", "motion_adapter", "absorber_file")  # of files
LISTS += ("sampler_name", "scheduler")  # core's


def named(socket, **names: str) -> dict[str, str]:
    return names | ({"tooltip": socket.tooltip} if socket.tooltip else {})


def as_locale(schema) -> dict:
    """A node's entry in nodeDefs.json: inputs by id, outputs by place."""
    inputs = {it.id: named(it, name=it.display_name or it.id) for it in schema.inputs}
    outputs = {
        str(i): named(it, name=it.display_name or it.id) for i, it in enumerate(schema.outputs)
    }
    entry = {"display_name": schema.display_name, "description": schema.description}
    return entry | ({"inputs": inputs} if inputs else {}) | {"outputs": outputs}


@pytest.mark.parametrize("node_id", SCHEMAS)
def test_english_says_what_the_node_says(node_id):
    assert ENGLISH[node_id] == as_locale(SCHEMAS[node_id])


def test_english_has_no_entry_for_a_node_that_is_gone():
    assert set(ENGLISH) == set(SCHEMAS)


def test_every_category_has_a_word():
    categories = {part for s in SCHEMAS.values() for part in s.category.split("/")}
    assert set(main_texts("en")["nodeCategories"]) == categories


@pytest.mark.parametrize("node_id", SCHEMAS)
def test_a_page_explains_every_choice(node_id):
    text = text_of(node_id)
    for socket in SCHEMAS[node_id].inputs:
        if socket.id not in LISTS:
            for choice in getattr(socket, "options", None) or ():
                assert f"*{choice}*" in text


def test_comfyui_serves_the_words_of_each_language(server):
    served = server.get("/i18n")
    for language in (path.name for path in LOCALES.iterdir()):
        ours = {name: served[language]["nodeDefs"][name] for name in SCHEMAS}
        assert ours == node_texts(language)
        assert served[language]["nodeCategories"].items() >= (
            main_texts(language)["nodeCategories"].items()
        )


def test_comfyui_serves_every_page_and_its_picture(server):
    for node_id in SCHEMAS:
        for path in (f"docs/{node_id}.md", f"docs/images/{node_id}.webp"):
            with urllib.request.urlopen(f"{server.url}{PACK}/{path}", timeout=30) as answer:
                assert answer.status == 200
                assert answer.read()
