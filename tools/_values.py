"""What stands behind the names of the pack's source, as far as it is written out there."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from _source import ANY, Function, Module, Source, called

# What returns the text or list that it is given, as far as words go.
SAME = {"str", "strip", "rstrip", "lstrip", "list", "tuple", "sorted", "reversed", "replace"}
OF_ERRORS = {"found", "expected", "next_move"}  # of a UserError, whoever has made it
_VIEWS = ("items", "values", "keys")
Meant = Mapping[tuple[str, str], list[ast.AST]]


class Values:
    """What names are bound to, and what lists and tables hold.

    meant: by a file's name and a variable, expressions for one that cannot be followed.
    """

    def __init__(self, source: Source, meant: Meant | None = None):
        self.source, self.meant = source, meant or {}
        self.under_way: set[ast.AST] = set()  # what is being read: nothing goes round in circles

    def values(self, node: ast.Name) -> Iterator[ast.AST]:
        """What a name is bound to: in its function, by its callers, or at the top."""
        if node not in self.source:
            return
        module = self.source.module_of(node)
        if meant := self.meant.get((module.path.name, node.id)):
            yield from meant
            return
        function = self.source.function_of(node)
        while function is not None:
            local = [*self._given(function, node.id), *self.source.bindings(function)[node.id]]
            if local:
                yield from local
                return
            function = self.source.function_of(function)
        top = self.source.top_level(module, node.id)
        if top is not None and not isinstance(top, Module | Function | ast.ClassDef):
            yield top

    def _given(self, function: Function, name: str) -> Iterator[ast.AST]:
        given = function.args
        if name in [it.arg for it in (*given.posonlyargs, *given.args, *given.kwonlyargs)]:
            yield from self.source.arguments(function, name)

    def attribute_values(self, node: ast.Attribute) -> Iterator[ast.AST]:
        """What a field of one of the pack's classes was made with, where the class is clear."""
        owner, source = node.value, self.source
        named = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
        if node not in source:
            return
        inside = source.top_level(source.module_of(node), named)
        if isinstance(inside, Module):
            if node.attr in inside.names:
                yield inside.names[node.attr]
            return
        if named == "self" and isinstance(own := source.around(node, ast.ClassDef), ast.ClassDef):
            yield from self._of_class(own, node.attr)
            return
        for name, found in source.classes.items():
            if name.lower() == named.lower().lstrip("_"):
                yield from self._of_class(found, node.attr)
                return
        if node.attr in OF_ERRORS:
            return
        owners = [it for it in source.classes.values() if source.field_values(it, node.attr)]
        if len(owners) == 1:
            yield from source.field_values(owners[0], node.attr)

    def _of_class(self, own: ast.ClassDef, name: str) -> Iterator[ast.AST]:
        yield from self.source.field_values(own, name)
        for value in self.source.fields[name]:
            if value in self.source and self.source.around(value, ast.ClassDef) is own:
                yield value
        for method in self.source.methods[name]:  # a property
            if self.source.around(method, ast.ClassDef) is own:
                yield from returned_by(method)

    def returned(self, call: ast.Call, by: type = ast.Return) -> Iterator[ast.AST]:
        """What the pack's functions that a call can mean return."""
        for meant in self.source.callees(call) if call in self.source else ():
            for function in [meant, *getattr(meant, "body", ())]:
                if isinstance(function, Function) and (
                    function is meant or function.name == "__str__"
                ):
                    yield from returned_by(function, by)

    def elements(self, node: ast.AST | None, place: object = ANY) -> list[ast.AST]:
        """What a list, a table's values or a tuple holds; one place of it where that is told."""
        if node is None or node in self.under_way:
            return []
        self.under_way.add(node)
        found = [*self._elements(node, place)]
        self.under_way.discard(node)
        return found

    def _elements(self, node: ast.AST, place: object) -> Iterator[ast.AST]:
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            told = isinstance(place, int) and place < len(node.elts)
            for it in [node.elts[place]] if told else node.elts:  # type: ignore[index]  # told
                yield from self.elements(it.value) if isinstance(it, ast.Starred) else [it]
        elif isinstance(node, ast.Dict):
            told = [v for k, v in zip(node.keys, node.values, strict=True) if _is(k, place)]
            for key, value in zip(node.keys, node.values, strict=True) if not told else ():
                yield from [value] if key else self.elements(value)
            yield from told
        elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp):
            yield node.elt
        elif isinstance(node, ast.DictComp):
            yield node.value
        elif isinstance(node, ast.IfExp | ast.BinOp | ast.BoolOp):
            parts = [getattr(node, it, None) for it in ("body", "orelse", "left", "right")]
            for part in [*filter(None, parts), *getattr(node, "values", ())]:
                yield from self.elements(part, place)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            yield from self.elements(node.value, place)
        elif isinstance(node, ast.Subscript):
            for inner in self.elements(node.value, getattr(node.slice, "value", ANY)):
                yield from self.elements(inner, place)
        elif isinstance(node, ast.Name | ast.Attribute):
            known = self.values if isinstance(node, ast.Name) else self.attribute_values
            for value in known(node):  # type: ignore[arg-type]  # of its own kind
                yield from self.elements(value, place)
            yield from self._added(node)
        elif isinstance(node, ast.Call):
            yield from self._elements_of_call(node, place)

    def _elements_of_call(self, node: ast.Call, place: object) -> Iterator[ast.AST]:
        name = called(node)
        receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
        if name in _VIEWS and receiver is not None:
            for key, value in self.pairs(receiver):
                both = name == "items" and place not in (0, 1)
                as_key = name == "keys" or (name == "items" and place == 0)
                yield ast.Tuple([key, value]) if both else key if as_key else value
        elif name == "fromkeys":
            yield from node.args[1:]
        elif name in SAME:
            yield from self.elements(receiver or (node.args or [None])[0], place)
        else:
            for value in self.returned(node):
                yield from self.elements(value, place)
            for value in self.returned(node, ast.Yield):
                yield value
            for value in self.returned(node, ast.YieldFrom):
                yield from self.elements(value, place)

    def pairs(self, node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
        """What a table holds, as far as it is written out; its values are a place where not."""
        if isinstance(node, ast.Dict):
            yield from ((key, it) for key, it in zip(node.keys, node.values, strict=True) if key)
        elif isinstance(node, ast.DictComp):
            yield node.key, node.value
        elif isinstance(node, ast.Name) and node not in self.under_way:
            self.under_way.add(node)
            for value in self.values(node):
                yield from self.pairs(value)
            yield from self._put(node)
            self.under_way.discard(node)

    def _put(self, table: ast.Name) -> Iterator[tuple[ast.expr, ast.expr]]:
        """What a function puts into a table of its own, one by one."""
        inside = self.source.function_of(table) if table in self.source else None
        for node in ast.walk(inside) if inside else ():
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                if getattr(node.value, "id", None) == table.id:
                    yield node.slice, ast.List([])
            elif isinstance(node, ast.Call) and called(node) == "append":
                inner = getattr(node.func, "value", None)
                if isinstance(inner, ast.Call) and called(inner) == "setdefault":
                    owner = getattr(inner.func, "value", None)
                    if getattr(owner, "id", None) == table.id:
                        yield inner.args[0], ast.List(node.args[:1])

    def _added(self, node: ast.Name | ast.Attribute) -> Iterator[ast.AST]:
        """What is appended to a list, in the function or class that has it."""
        if node not in self.source:
            return
        kinds = [ast.FunctionDef] if isinstance(node, ast.Name) else [ast.ClassDef]
        inside, name = self.source.around(node, *kinds), ast.unparse(node)
        for call in ast.walk(inside) if inside else ():
            if isinstance(call, ast.Call) and ast.unparse(call.func) == f"{name}.append":
                yield from call.args


def _is(key: ast.AST | None, place: object) -> bool:
    return isinstance(key, ast.Constant) and key.value == place


def returned_by(function: ast.AST, by: type = ast.Return) -> Iterator[ast.AST]:
    for node in ast.walk(function):
        if isinstance(node, by) and (value := getattr(node, "value", None)):
            yield value
