"""Objects of a JSON Schema: their properties, and the names of properties that the schema leaves open."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from fastmock.content.filler import FILLER
from fastmock.content.json_schema.merge import unnamed
from fastmock.content.json_schema.nodes import Made, Making, Never, Node, Object, Path, SchemaError
from fastmock.content.json_schema.scalars import bounds, pattern_of
from fastmock.content.json_schema.work import Work

_MANY = 1000  # names drawn beyond the required number


class Objects:
    """Compiles objects."""

    def __init__(
        self,
        node: Callable[[Any, Path], Node],
        flat: Callable[[Any, Path], dict[str, Any]],
        admits: Callable[[Any, Any, Path], bool],
        work: Work,
    ) -> None:
        """Take functions that compile a part, merge one with its references, and validate a value."""
        self._node, self._flat, self._admits, self._work = node, flat, admits, work

    def compile(self, schema: dict[str, Any], path: Path) -> Node:
        """Compile an object.

        Raises:
            SchemaError: it is unsatisfiable.
        """
        if "unevaluatedProperties" in schema:  # all evaluated properties were merged before
            schema = {"additionalProperties": schema["unevaluatedProperties"], **schema}
        properties, names = schema.get("properties", {}), schema.get("required", [])
        self._work.spend((len(properties) + len(names)) // 2)
        if not all(isinstance(name, str) for name in names):
            raise SchemaError((*path, "required"), "must be a list of names")
        least, most = bounds(schema, "Properties", path)
        required, optional = self._named(schema, path)
        for name in [name for name, node in optional.items() if not isinstance(node, Never)]:
            if len(required) < least:  # as many optional ones as required
                required[name] = optional.pop(name)
        is_open = "patternProperties" in schema or isinstance(schema.get("additionalProperties"), dict)
        if len(required) < least:
            required |= self._others(schema, {*properties, *required}, least - len(required), path)
        elif is_open and not properties and not required and most > 0:
            optional |= self._others(schema, set(), 1, path)  # a map: one entry as an example
        if not least <= len(required) <= most:
            raise SchemaError(
                path, f"has {len(required)} properties at the {'most' if len(required) < least else 'least'}"
            )
        places = {name: place for place, name in enumerate(properties)}
        ordered = sorted(required, key=lambda name: places.get(name, len(places)))
        return Object(path, {name: required[name] for name in ordered}, optional, most)

    def _named(self, schema: dict[str, Any], path: Path) -> tuple[dict[str, Node], dict[str, Node]]:
        """Return the properties that are required by name, and the optional ones."""
        properties, names = schema.get("properties", {}), dict.fromkeys(schema.get("required", []))
        required: dict[str, Node] = {}
        optional: dict[str, Node] = {}
        for name, part in properties.items():
            if self._may_be(schema, name, path):
                (required if name in names else optional)[name] = self._node(part, (*path, "properties", name))
        for name in names:
            if not self._may_be(schema, name, path):
                raise SchemaError((*path, "propertyNames"), f"{name!r} is required, but no such name is allowed")
            if name not in properties:
                self._work.spend(2)
                part, at = unnamed(schema, name, path, self._work)
                if part is False:
                    raise SchemaError((*path, "required"), f"{name!r} is required, but no such property is allowed")
                required[name] = self._node(part, at)
        return required, optional

    def _others(self, schema: dict[str, Any], taken: set[str], count: int, path: Path) -> dict[str, Node]:
        """Return up to ``count`` properties that are not named in the schema."""
        found: dict[str, Node] = {}
        nodes: dict[Path, Node] = {}
        for name in self._names(schema, count + len(taken), path):
            self._work.spend(2)
            part, at = unnamed(schema, name, path, self._work)
            if name in taken or part is False:
                continue
            if at not in nodes or at[-1] == "patternProperties":
                nodes[at] = self._node(part, at)
            found[name] = nodes[at]
            if len(found) == count:
                break
        return found

    def _names(self, schema: dict[str, Any], count: int, path: Path) -> Iterator[str]:
        """Yield allowed names, more than ``count`` if there are as many."""
        draws = count + 1 + min(3 * count, _MANY)
        names: list[str] = []
        for pattern in schema.get("patternProperties", ()):
            make = pattern_of(pattern, {}, (*path, "patternProperties"), self._work).make
            self._work.spend(draws)
            names += [make(Random(number)) for number in range(draws)]
        self._work.spend(count)
        if schema.get("additionalProperties", True) is not False:
            names += [*FILLER, *(f"key{number}" for number in range(count))]
        if isinstance(schema.get("propertyNames"), dict):
            at = (*path, "propertyNames")
            node = self._node({**self._flat(schema["propertyNames"], at), "type": "string"}, at)
            making = Making(Random(0), self._work.budget, wide=True)
            names += [node.make(making, 0) for _ in range(draws)] if isinstance(node, Made) else []
        numbered = (f"{name}{number}" for number, name in enumerate(names))  # a pattern may match these too
        return (name for name in dict.fromkeys((*names, *numbered)) if self._may_be(schema, name, path))

    def _may_be(self, schema: dict[str, Any], name: str, path: Path) -> bool:
        return "propertyNames" not in schema or self._admits(schema["propertyNames"], name, (*path, "propertyNames"))
