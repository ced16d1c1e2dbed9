"""What an expression of the pack can say: its texts, with places where values stand."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import product
from math import prod

from _source import ANY, Source, called
from _texts import LIST, VALUE, Place, Text, formatted, is_weak, joined, says, shown
from _values import OF_ERRORS, SAME, Meant, Values

MOST = 24  # texts of one expression that is put together
WORDS = "words"  # the kind of texts inside others; of weak ones each place has its own


class Sayings(Values):
    """Reads the texts of expressions. words: those that stand inside others, by kind."""

    def __init__(self, source: Source, meant: Meant | None = None):
        super().__init__(source, meant)
        self.words: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._kinds: defaultdict[str, dict[frozenset[str], int]] = defaultdict(dict)
        self._file = ""  # that the expression stands in which is being read
        self._known: dict[ast.AST, list[Text]] = {}

    def texts(self, node: ast.AST) -> list[Text]:
        """Every text that an expression can be. What cannot be told is a value."""
        if node in self._known:
            return self._known[node]
        if node in self.under_way:
            return []
        self.under_way.add(node)
        read: Callable[..., Iterable[Text]] | None
        read = getattr(self, f"_{type(node).__name__.lower()}", None)
        outer = self._file
        if node in self.source:
            self._file = self.source.module_of(node).path.stem.strip("_")
        found = list(dict.fromkeys(joined(text) for text in (read(node) if read else [VALUE])))
        self._file = outer
        self.under_way.discard(node)
        if not self.under_way:
            self._known[node] = found
        return found

    def _of(self, nodes: Iterable[ast.AST]) -> list[Text]:
        """The texts of several expressions; a value for none at all."""
        several = [*nodes]
        return [text for node in several for text in self.texts(node)] if several else [VALUE]

    def _constant(self, node: ast.Constant) -> Iterable[Text]:
        return [(node.value,)] if isinstance(node.value, str) else [VALUE]

    def _joinedstr(self, node: ast.JoinedStr) -> Iterable[Text]:
        return self._together([self._part(it) for it in node.values])

    def _part(self, node: ast.AST) -> list[Text]:
        if not isinstance(node, ast.FormattedValue):
            return self.texts(node)
        if node.format_spec is not None or node.conversion == ord("r"):
            return [VALUE]
        return self._inside(self.texts(node.value), isinstance(node.value, ast.IfExp))

    def _inside(self, texts: list[Text], spelled: bool = False) -> list[Text]:
        """What stands in a place of a text: itself where it is one, else a value."""
        fixed = all(isinstance(it, str) for text in texts for it in text)
        if texts and fixed and (len(texts) == 1 or spelled):
            return texts
        others = {it.kind for text in texts if len(text) == 1 for it in text if type(it) is Place}
        of_error, saying = max(others, default=""), [text for text in texts if says(text)]
        if of_error or not saying:
            kind = of_error
        else:
            kind = self._kind_of({shown(text) for text in saying if is_weak(text)})
        for text in saying:
            self.words[kind if of_error or is_weak(text) else WORDS][shown(text)] = None
        return [(Place(kind, bool(kind) and VALUE in texts),)]

    def _kind_of(self, weak: set[str]) -> str:
        """The kind of a place with these weak texts: they could be parts of names elsewhere."""
        if not weak:
            return WORDS
        kinds = self._kinds[self._file]
        number = kinds.setdefault(frozenset(weak), len(kinds) + 1)
        return f"{WORDS}_{self._file}_{number}"

    def _together(self, parts: list[list[Text]]) -> Iterable[Text]:
        if prod(len(part) or 1 for part in parts) > MOST:
            parts = [self._inside(part) if len(part) > 2 else part for part in parts]
        return [sum(texts, ()) for texts in product(*(part or [VALUE] for part in parts))]

    def _binop(self, node: ast.BinOp) -> Iterable[Text]:
        if not isinstance(node.op, ast.Add):
            return [VALUE]
        parts = [self.texts(it) for it in (node.left, node.right)]
        return self._together([self._inside(it) if LIST in it else it for it in parts])

    def _ifexp(self, node: ast.IfExp) -> Iterable[Text]:
        return [*self.texts(node.body), *self.texts(node.orelse)]

    def _boolop(self, node: ast.BoolOp) -> Iterable[Text]:
        return self._of(node.values)

    def _namedexpr(self, node: ast.NamedExpr) -> Iterable[Text]:
        return self.texts(node.value)

    def _excepthandler(self, node: ast.ExceptHandler) -> Iterable[Text]:
        names = {it.id for it in ast.walk(node.type or node) if isinstance(it, ast.Name)}
        if "UserError" in names:
            return [(Place("error"),)]
        raised = [
            call for name in names & {*self.source.classes} for call in self.source.calls[name]
        ]
        return self._of(call.args[0] for call in raised if call.args)

    def _subscript(self, node: ast.Subscript) -> Iterable[Text]:
        if isinstance(node.slice, ast.Slice):
            return self.texts(node.value)
        place = node.slice.value if isinstance(node.slice, ast.Constant) else ANY
        return self._of(self.elements(node.value, place))

    def _name(self, node: ast.Name) -> Iterable[Text]:
        return self._of(self.values(node))

    def _attribute(self, node: ast.Attribute) -> Iterable[Text]:
        if values := [*self.attribute_values(node)]:
            return self._of(values)
        return [(Place(node.attr if node.attr in OF_ERRORS else ""),)]

    def _call(self, node: ast.Call) -> Iterable[Text]:
        name = called(node)
        receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
        if name == "join" and node.args:
            return [*self._of(self.elements(node.args[0])), LIST]
        if name == "format" and receiver is not None:
            given = [self._inside(self.texts(it))[0] for it in node.args]
            return [formatted(text, given) for text in self.texts(receiver)]
        if name == "get" and receiver is not None:
            return self._of([*self.elements(receiver), *node.args[1:2]])
        if name == "next" and node.args:
            return self._of([*self.elements(node.args[0]), *node.args[1:2]])
        if name in SAME and (inner := receiver or (node.args or [None])[0]):
            return self.texts(inner)
        return self._of(self.returned(node))
