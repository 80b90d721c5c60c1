"""Generate JSON that conforms to a JSON Schema.

It supports the keywords used by OpenAI's Structured Outputs and tools: ``$ref`` and ``$defs``, recursion, ``enum``,
``const``, ``anyOf``, ``oneOf``, ``allOf``, several types, formats, patterns, bounds, lengths, ``additionalProperties``.
For further keywords (``not``, ``if``, ``contains``, …) it generates candidates and validates them during compilation.

A schema is compiled once into nodes. The generated values depend only on the random generator.
"""

import math
from random import Random
from typing import Any

from fastmock.content.json_schema.budget import ANSWER_STEPS, Budget, BudgetExceededError
from fastmock.content.json_schema.merge import merged, told_apart
from fastmock.content.json_schema.nodes import (
    LARGEST,
    NEVER,
    Array,
    Checked,
    Choice,
    Making,
    Never,
    Node,
    Path,
    Ref,
    SchemaError,
    reason,
)
from fastmock.content.json_schema.objects import Objects
from fastmock.content.json_schema.references import References, check_keywords
from fastmock.content.json_schema.scalars import bounds, listed, scalar, to_number
from fastmock.content.json_schema.validator import ALSO, Checker
from fastmock.content.json_schema.work import Work
from fastmock.core.garbage import collection_paused

__all__ = ["Maker", "SchemaError"]

_MOST_NODES = 5000  # OpenAI accepts schemas with as many properties
_DEEPEST = 100  # required levels of nesting
_DEEPER = 3  # levels beyond the minimum for recursive schemas
_ANNOTATIONS = frozenset(
    ("$defs", "definitions", "$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated")
)
_BY_KEYWORD = {
    "object": (
        *("properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties"),
        *("propertyNames", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties"),
    ),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_ONLY_CHECKED = frozenset(
    ("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies")
)  # they generate nothing
_TRIED = ("not", "if", "contains", "propertyNames", "dependentRequired", "dependentSchemas", "dependencies", ALSO)
_TELLING = frozenset(("type", "enum", "const", "anyOf", "oneOf", *(w for words in _BY_KEYWORD.values() for w in words)))


_QUICK_STEPS, _QUICK_SIZE = 2000, 500


class Maker:
    """A compiled schema.

    Attributes:
        steps: the number of steps to compile it.
    """

    def __init__(self, schema: Any) -> None:
        """Compile ``schema``, the parsed JSON.

        Raises:
            SchemaError: no value can be generated for it.
        """
        work = Work()
        self._budget = work.budget
        try:
            with collection_paused():
                self._root = _Compiler(schema, work).root
            if self._root.depth == NEVER:
                raise reason(self._root)
            if self._root.depth > _DEEPEST:
                raise SchemaError(self._root.path, "is nested too deeply")
            if self._root.size > LARGEST:
                raise SchemaError(self._root.path, f"asks for more than {LARGEST} values or characters")
        except RecursionError:
            raise SchemaError((), "is nested too deeply") from None
        except BudgetExceededError as error:
            raise SchemaError((), f"schema is too complex: to compile it {error}") from None
        self.steps = work.budget.spent

    @property
    def is_quick(self) -> bool:
        """Whether a value is generated within one or two milliseconds."""
        return self.steps < _QUICK_STEPS and self._root.size < _QUICK_SIZE

    def make(self, random: Random, budget: Budget | None = None) -> Any:
        """Return a value that conforms; the work is counted in ``budget``, by default one for this value alone.

        Raises:
            SchemaError: the budget is exceeded.
        """
        budget = budget or Budget(ANSWER_STEPS)
        own = self._budget  # shared with the nodes that draw strings and numbers
        own.spent, own.limit = budget.spent, budget.limit
        try:
            with collection_paused():
                return self._root.make(Making(random, own), self._root.depth + _DEEPER)
        except BudgetExceededError as error:
            raise SchemaError((), f"schema is too complex: to generate values for it {error}") from None
        finally:
            budget.spent = own.spent


class _Compiler:
    """Compiles a schema into nodes."""

    def __init__(self, schema: Any, work: Work) -> None:
        self._work = work
        self._references = references = References(schema, work)
        self._nodes: list[Node] = []
        self._begun = 0
        self._refs: dict[str | bytes, Ref] = {}
        self._targets: list[tuple[Ref, Any, Path]] = []
        self._checker = Checker(references.resolve, work)
        self._objects = Objects(self.node, references.flat, self._checker.admits, work)
        self._tries: list[Checked] = []
        self._tried_once: set[Checked] = set()
        self.root = self.node(schema, ())
        while self._targets:
            ref, target, path = self._targets.pop()
            self._nodes.append(ref)  # between its referrers and its target: the order for measuring
            ref.target = self.node(target, path)
        self._settle()
        while any(self._fails(node) for node in self._tries):
            for one in self._nodes:
                one.depth = one.size = NEVER
            self._settle()

    def _fails(self, node: Checked) -> bool:
        """Return whether a node proves to be unsatisfiable."""
        if node in self._tried_once or node.depth > _DEEPEST or node.size > LARGEST:
            return False
        self._tried_once.add(node)
        return not node.find(_DEEPER, self._work.budget)

    def _settle(self) -> None:
        """Measure all nodes until nothing changes."""
        passes = 0
        steps = sum(1 + node.parts // 3 for node in self._nodes)
        while self._measure():
            self._work.spend(steps)
            passes += 1
            if passes > _DEEPEST:  # each pass settles at least one level
                raise SchemaError((), "is nested too deeply")

    def _measure(self) -> bool:
        """Measure all nodes once more; return whether anything changed."""
        changed = False
        for node in (*self._nodes, *reversed(self._nodes)):  # chains of references may lead either way
            measured = node.measure()
            if measured < (node.depth, node.size):
                node.depth, node.size = measured
                changed = True
        return changed

    def node(self, schema: Any, path: Path) -> Node:
        """Compile a part of the schema."""
        self._begun += 1
        self._work.spend(8 + (len(schema) if isinstance(schema, dict) else 0))
        try:
            if self._begun > _MOST_NODES:
                raise SchemaError(path, f"makes the schema larger than {_MOST_NODES} parts")
            node = self._node(schema, path)
        except SchemaError as error:
            self._work.spend(10)
            node = Never(error.path, str(error))
        if not isinstance(node, Ref):
            self._nodes.append(node)
        return node

    def _node(self, schema: Any, path: Path) -> Node:
        if schema is True:
            schema = {}
        if schema is False:
            return Never(path, "nothing is allowed here")
        if not isinstance(schema, dict):
            return Never(path, "must be an object or a boolean")
        check_keywords(schema, path)
        if "$ref" in schema and _ANNOTATIONS.issuperset(schema.keys() - {"$ref"}):
            return self._ref(schema["$ref"], path)
        if "allOf" in schema or "$ref" in schema:
            return self._laid({}, schema, path)
        tried = self._tried(schema)
        return self._checked(schema, tried, path) if tried else self._plain(schema, path)

    def _plain(self, schema: dict[str, Any], path: Path) -> Node:
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self._choice(schema, word, path)
        types = schema.get("type")
        if isinstance(types, list):
            return self._kinds(types, schema, path)
        if "const" in schema or "enum" in schema:
            return listed(schema, path, self._checker.admits, self._work)
        kind = types or next((k for k, words in _BY_KEYWORD.items() if not schema.keys().isdisjoint(words)), "string")
        if kind == "object":
            return self._objects.compile(schema, path)
        if kind == "array":
            return self._array(schema, path)
        return scalar(kind, schema, path, self._work)

    def _tried(self, schema: dict[str, Any]) -> str | None:
        """Return the keyword that requires candidates to be validated; None if every candidate conforms."""
        for word in _TRIED:
            if word in schema:
                return word
        if "oneOf" in schema and not self._are_apart(schema["oneOf"]):
            return "oneOf"
        if schema.get("uniqueItems") is True and schema.get("minItems", 0) != 0:
            return "uniqueItems"
        patterns = schema.get("patternProperties", ())
        if len(patterns) > 1 or (patterns and not schema.keys().isdisjoint(("properties", "required"))):
            return "patternProperties"
        return None

    def _are_apart(self, parts: list[Any]) -> bool:
        """Return whether the schemas obviously exclude each other."""
        by_type: dict[Any, list[dict[str, Any]]] = {}
        self._work.spend(len(parts))
        for part in parts:
            is_ref = isinstance(part, dict) and "$ref" in part
            plain = self._references.resolve(part["$ref"], ())[0] if is_ref else part
            if not isinstance(plain, dict) or not isinstance(plain.get("type"), str):
                return False
            check_keywords(plain, ())
            by_type.setdefault(plain["type"], []).append(plain)
        if "integer" in by_type and "number" in by_type:
            return False
        return all(len(group) == 1 or told_apart(group, self._work) for group in by_type.values())

    def _checked(self, schema: dict[str, Any], word: str, path: Path) -> Node:
        """Compile a schema whose values are found by validating candidates."""
        rest = {key: asked for key, asked in schema.items() if key not in _ONLY_CHECKED}
        if "if" in schema:
            met = {"allOf": [schema["if"], schema.get("then", True)]}
            rest = merged(rest, {"anyOf": [met, schema.get("else", True)]}, path, self._work)
        if rest.keys().isdisjoint(_TELLING):
            rest = {**rest, "type": [*_BY_KEYWORD, "boolean", "null"]}
        inner = self._plain(rest, path)
        self._nodes.append(inner)
        checked = Checked((*path, word), inner, lambda value: self._checker.admits(schema, value, path))
        self._tries.append(checked)
        return checked

    def _kinds(self, types: list[Any], schema: dict[str, Any], path: Path) -> Node:
        if not types:
            return Never(path, "must name at least one type")
        self._work.spend(len(types) // 3)
        kinds = {str(one): one for one in types}
        nodes = {name: self.node({**schema, "type": one}, path) for name, one in kinds.items()}
        nulls = [nodes.pop("null")] if "null" in nodes else []
        return Choice(path, list(nodes.values()), nulls)

    def _ref(self, pointer: Any, path: Path) -> Node:
        target, at = self._references.resolve(pointer, path)
        return self._ref_to(pointer, target, at)

    def _ref_to(self, key: str | bytes, target: Any, at: Path) -> Ref:
        """Return the reference for ``key``; its target is compiled later, and once."""
        ref = self._refs.get(key)
        if ref is None:
            ref = self._refs[key] = Ref(at)
            self._targets.append((ref, target, at))
        return ref

    def _laid(self, common: dict[str, Any], schema: dict[str, Any], path: Path) -> Node:
        """Compile a schema merged with the keywords it shares with others."""
        resolved = self._references.resolved
        flat = merged(common, self._references.flat(schema, path), path, self._work)
        if self._references.resolved == resolved:
            return self.node(flat, path)
        key = self._work.key({word: value for word, value in flat.items() if word not in _ANNOTATIONS})
        return self._ref_to(key, flat, path)  # it may be recursive

    def _choice(self, schema: dict[str, Any], word: str, path: Path) -> Node:
        common = {key: value for key, value in schema.items() if key != word and key not in _ANNOTATIONS}
        parts = schema[word]
        if not parts:
            return Never((*path, word), "must be a list with at least one schema")
        nodes: list[Node] = []
        nulls: list[Node] = []
        for place, part in enumerate(parts):
            at = (*path, word, place)
            is_null = isinstance(part, dict) and part.get("type") == "null"
            (nulls if is_null else nodes).append(self._alternative(common, part, at))
        return Choice(path, nodes, nulls)

    def _alternative(self, common: dict[str, Any], part: Any, path: Path) -> Node:
        """Compile one of several alternatives, merged with the keywords they share."""
        if part is True:
            part = {}
        if not common or not isinstance(part, dict):
            return self.node(part, path)
        try:
            check_keywords(part, path)
            return self._laid(common, part, path)
        except SchemaError as error:
            return Never(error.path, str(error))

    def _array(self, schema: dict[str, Any], path: Path) -> Node:
        least, most = bounds(schema, "Items", path)
        first = schema.get("prefixItems", [])
        items = schema.get("items", True)
        if isinstance(items, list):  # before draft 2020-12
            first, items = items, schema.get("additionalItems", True)
        if len(first) > most:
            first = first[: int(most)]
        if items is False:
            most = min(most, len(first))
            if least > most:
                return Never((*path, "minItems"), f"asks for {least} items, of which {len(first)} are allowed")
        heads = [self.node(part, (*path, "prefixItems", place)) for place, part in enumerate(first)]
        if "contains" in schema and "maxContains" in schema:
            others = self.node({"allOf": [items, {"not": schema["contains"]}]}, (*path, "items"))
        else:
            others = self.node(items, (*path, "items"))
        unique = schema.get("uniqueItems") is True
        plain = Array(path, heads, others, (least, most), unique)
        wanted = to_number(schema.get("minContains", 1), "minContains", path) if "contains" in schema else 0
        if wanted <= 0:
            return plain
        nodes: list[Node] = [plain] if heads else []  # one of them may already contain the required item
        at = (*path, "contains")
        if len(heads) + wanted <= min(most, LARGEST):
            asked = schema["contains"] if items is True else {"allOf": [items, schema["contains"]]}
            self._work.spend(math.ceil(wanted))
            heads = [*heads, *[self.node(asked, at)] * math.ceil(wanted)]
            nodes.insert(0, Array(path, heads, others, (max(least, len(heads)), most), unique))
        self._nodes += nodes
        return Choice(path, nodes, []) if nodes else Never(at, "asks for more items than there may be")
