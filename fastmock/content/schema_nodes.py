"""The nodes that a JSON Schema is compiled into: each makes values of its part."""

import math
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any

import orjson

Path = tuple[str | int, ...]

NEVER = math.inf
"""The depth of what no value fits."""

_MANY = 200  # values after which only what has to be is made
_TRIES = 20


class SchemaError(Exception):
    """A schema that nothing can be made for: the path inside it, and what is wrong there."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


class Making:
    """One value being made: its draws, and how many values are left to be made freely."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.left = _MANY


class Node:
    """A compiled part of a schema.

    Attributes:
        path: where it stands.
        depth: levels that the least deep value has; infinite where there is none.
        size: values and characters in that.
    """

    depth: float = NEVER
    size: float = NEVER

    def __init__(self, path: Path) -> None:
        self.path = path

    def measure(self) -> tuple[float, float]:
        """Return depth and size, from those of what is inside."""
        return 0, 1

    def make(self, making: Making, depth: float) -> Any:
        """Return a value, at most ``depth`` levels deep where it can be so."""
        raise AssertionError

    def inside(self) -> "Iterable[Node]":
        """Return the nodes that every value needs."""
        return ()


class Never(Node):
    """Nothing fits."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(path)
        self.message = message

    def measure(self) -> tuple[float, float]:
        """See Node."""
        return NEVER, NEVER


class Made(Node):
    """A value without parts."""

    def __init__(self, path: Path, make: Callable[[Random], Any], size: int = 1) -> None:
        super().__init__(path)
        self._make = make
        self._size = size

    def measure(self) -> tuple[float, float]:
        """See Node."""
        return 0, self._size

    def make(self, making: Making, depth: float) -> Any:
        """See Node."""
        making.left -= 1
        return self._make(making.random)


class Ref(Node):
    """A part that stands elsewhere, and may contain itself."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.target: Node = Never(path, "")

    def measure(self) -> tuple[float, float]:
        """See Node."""
        return self.target.depth + 1, self.target.size  # a level too, for a choice may lead back to itself

    def make(self, making: Making, depth: float) -> Any:
        """See Node."""
        return self.target.make(making, depth - 1)

    def inside(self) -> Iterable[Node]:
        """See Node."""
        return (self.target,)


class Choice(Node):
    """One of several."""

    def __init__(self, path: Path, nodes: list[Node], nulls: list[Node]) -> None:
        super().__init__(path)
        self._nodes, self._nulls = nodes, nulls

    def measure(self) -> tuple[float, float]:
        """See Node."""
        return min((node.depth, node.size) for node in (*self._nodes, *self._nulls))

    def make(self, making: Making, depth: float) -> Any:
        """See Node."""
        if making.left <= 0:
            depth = self.depth
        for nodes in (self._nodes, self._nulls):  # null only where nothing else goes
            if fitting := [node for node in nodes if node.depth <= depth]:
                return making.random.choice(fitting).make(making, depth)
        least = min((*self._nodes, *self._nulls), key=lambda node: (node.depth, node.size))
        return least.make(making, depth)

    def inside(self) -> Iterable[Node]:
        """See Node."""
        return (*self._nodes, *self._nulls)[:1]


class Object(Node):
    """An object: all that is required, and what is optional as far as there is room."""

    def __init__(self, path: Path, required: Mapping[str, Node], optional: Mapping[str, Node], most: float) -> None:
        super().__init__(path)
        self._required, self._optional, self._most = required, optional, most

    def measure(self) -> tuple[float, float]:
        """See Node."""
        depths = [node.depth for node in self._required.values()]
        return 1 + max(depths, default=0), 1 + sum(node.size for node in self._required.values())

    def make(self, making: Making, depth: float) -> Any:
        """See Node."""
        making.left -= 1
        chosen = dict(self._required)
        for name, node in self._optional.items():
            if node.depth < depth and making.left > 0 and len(chosen) < self._most:
                chosen[name] = node
        return {name: node.make(making, depth - 1) for name, node in chosen.items()}

    def inside(self) -> Iterable[Node]:
        """See Node."""
        return self._required.values()


class Array(Node):
    """An array: first its own parts, then items."""

    def __init__(self, path: Path, first: list[Node], items: Node, bounds: tuple[int, float], unique: bool) -> None:
        super().__init__(path)
        self._first, self._items, self._unique = first, items, unique
        self._least, self._most = bounds

    def measure(self) -> tuple[float, float]:
        """See Node."""
        needed = list(self.inside())
        more = max(0, self._least - len(self._first))
        size = sum(node.size for node in self._first[: self._least]) + (more * self._items.size if more else 0)
        return 1 + max((node.depth for node in needed), default=0), 1 + size

    def inside(self) -> Iterable[Node]:
        """See Node."""
        return (*self._first[: self._least], *((self._items,) if self._least > len(self._first) else ()))

    def make(self, making: Making, depth: float) -> Any:
        """See Node."""
        making.left -= 1
        wanted = min(max(self._least, len(self._first), making.random.randint(1, 2)), self._most)
        made: list[Any] = []
        seen: set[bytes] = set()
        while len(made) < wanted:
            node = self._first[len(made)] if len(made) < len(self._first) else self._items
            free = node.depth < depth and making.left > 0
            if len(made) >= self._least and not free:
                break
            value = node.make(making, depth - 1)
            if self._unique:
                for _ in range(_TRIES):
                    if orjson.dumps(value) not in seen:
                        break
                    value = node.make(making, depth - 1)
                if orjson.dumps(value) in seen and len(made) >= self._least:
                    break
                seen.add(orjson.dumps(value))
            made.append(value)
        return made


def reason(node: Node) -> SchemaError:
    """Return why nothing fits a node: what inside it cannot be."""
    seen: set[int] = set()
    while id(node) not in seen:
        seen.add(id(node))
        if isinstance(node, Never):
            return SchemaError(node.path, node.message)
        node = next(inner for inner in node.inside() if inner.depth == NEVER)
    return SchemaError(node.path, "contains itself without end")
