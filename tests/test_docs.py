"""Help pages and locales, as far as their files tell; tests/host holds them against the nodes."""

import re

import pytest
from PIL import Image

from helpers.texts import DOCS, ENGLISH, LOCALES, ROOT, main_texts, node_texts, text_of

KILOBYTE = 1024


OTHERS = sorted({path.name for path in LOCALES.iterdir()} - {"en"})
page = pytest.mark.parametrize("node_id", ENGLISH)
other = pytest.mark.parametrize("language", OTHERS)


def test_pages_pictures_and_english_words_are_those_of_the_nodes():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "nodes").rglob("*.py")]
    ids = set(re.findall(r'node_id="(\w+)"', "".join(sources)))
    assert set(ENGLISH) == ids
    assert {path.stem for path in DOCS.glob("*.md")} == ids
    assert {path.stem for path in (DOCS / "images").iterdir()} == ids


@page
def test_a_page_is_titled_as_its_node_and_shows_it(node_id):
    text = text_of(node_id)
    assert text.startswith(f"# {ENGLISH[node_id]['display_name']}\n")
    ((alt, picture),) = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text)
    assert alt
    # The frontend resolves it beside the page, and opens no other relative link.
    assert picture == f"images/{node_id}.webp"
    with Image.open(DOCS / picture) as image:
        assert min(image.size) >= 100
        image.load()
    assert not re.search(r"(?<!!)\[[^\]]*\]\((?!https://)", text)


@page
def test_a_page_explains_every_input_and_output(node_id):
    text, node = text_of(node_id), ENGLISH[node_id]
    outputs = [entry["name"] for entry in node["outputs"].values()]
    missing = [name for name in (*node.get("inputs", {}), *outputs) if f"**{name}**" not in text]
    assert not missing
    assert "\n## If something is wrong\n" in text


@page
def test_a_page_names_only_what_exists(node_id):
    node = ENGLISH[node_id]
    known = {entry["display_name"] for entry in ENGLISH.values()} | set(node.get("inputs", {}))
    known |= {entry["name"] for entry in node["outputs"].values()}
    named = re.findall(r"\*\*([^*]+)\*\*", text_of(node_id))
    assert set(map(" ".join, map(str.split, named))) <= known


@page
def test_a_page_names_no_path_of_a_machine(node_id):
    assert not re.search(r"(?:^|[\s`(\"'])(?:/\w|~/|[A-Za-z]:\\)", text_of(node_id))


def test_pictures_are_small():
    sizes = [path.stat().st_size for path in (DOCS / "images").iterdir()]
    assert max(sizes) <= 60 * KILOBYTE
    assert sum(sizes) <= 700 * KILOBYTE


@other
def test_a_language_has_a_word_for_everything_and_nothing_else(language):
    def named(entry):
        if isinstance(entry, dict):
            return {key: named(value) for key, value in entry.items()}
        assert isinstance(entry, str)
        assert entry.strip()
        return None

    assert named(node_texts(language)) == named(ENGLISH)
    # The page's and the server's own words have English for keys: tests/web/words.test.js and
    # tests/test_said.py.
    by_text = ("stillMoving", "stillMovingSaid")
    others = {key: words for key, words in main_texts(language).items() if key not in by_text}
    assert named(others) == named(main_texts("en"))


@other
def test_a_language_is_not_english(language):
    for node_id, node in node_texts(language).items():
        assert node["display_name"] != ENGLISH[node_id]["display_name"]
        assert node["description"] != ENGLISH[node_id]["description"]
        for name, entry in node.get("inputs", {}).items():
            assert entry["tooltip"] != ENGLISH[node_id]["inputs"][name]["tooltip"]


@pytest.mark.parametrize("language", ["en", *OTHERS])
def test_no_text_holds_a_sign_that_the_frontend_reads_as_code(language):
    # vue-i18n: {value}, @:link and one | other
    assert not re.search(r"[{}@|]", "".join(texts(node_texts(language))))


def texts(entry: dict | str) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    return [text for value in entry.values() for text in texts(value)]


def test_the_tree_in_architecture_is_the_tree():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    tops = ("training", "adapters", "nodes")
    folders = [f for top in tops for f in (ROOT / top, *(ROOT / top).iterdir()) if f.is_dir()]
    shown = dict(re.findall(r"^((?:training|adapters|nodes)/\S*): (.+)$", text, re.MULTILINE))
    listed = {
        f"{folder.relative_to(ROOT).as_posix()}/": " ".join(
            sorted(
                f"{p.name}/" if p.is_dir() else p.name
                for p in folder.iterdir()
                if p.name not in ("__init__.py", "__pycache__")
            )
        )
        for folder in folders
        if folder.name != "__pycache__"
    }
    assert shown == listed
