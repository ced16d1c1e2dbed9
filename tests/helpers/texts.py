"""What people read: the words of the nodes in each language, and the help pages."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS, LOCALES = ROOT / "web" / "docs", ROOT / "locales"


def node_texts(language: str) -> dict:
    """What a language calls the nodes, by id."""
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def text_of(node_id: str) -> str:
    return (DOCS / f"{node_id}.md").read_text(encoding="utf-8")


def main_texts(language: str) -> dict:
    return json.loads((LOCALES / language / "main.json").read_text(encoding="utf-8"))


ENGLISH = node_texts("en")
