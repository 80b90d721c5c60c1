"""Scalar values of a JSON Schema: enumerated values, numbers and strings."""

import math
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import permutations
from random import Random
from string import ascii_lowercase
from typing import Any

import orjson

from fastmock.content.filler import FILLER
from fastmock.content.json_schema.formats import FORMATS, Format
from fastmock.content.json_schema.nodes import LARGEST, Made, Never, Node, Path, SchemaError
from fastmock.content.json_schema.regex_strings import Pattern, PatternError
from fastmock.content.json_schema.validator import ALSO
from fastmock.content.json_schema.work import Work

_SPAN = 100  # width of the range of a number with one bound
_WIDE_SPAN = 1_000_000  # the same for a number that has to differ from others
_ONE = Fraction(1)
_FEW = 1000  # multiples that are enumerated
_LETTERS = 8  # length of a text that has to differ from others
_TRIES = 20
_MANY_TRIES = 1000
_MANY = 100  # positions where a text is split
_LEAST_INTEGER, _LARGEST_INTEGER = -(2**63), 2**64 - 1  # the range that orjson supports


def to_number(value: Any, key: str, path: Path) -> float:
    """Return the value of ``key`` as a number; raise SchemaError if it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SchemaError((*path, key), "must be a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise SchemaError((*path, key), "must be a finite number")
    return value


def bounds(schema: dict[str, Any], what: str, path: Path) -> tuple[int, float]:
    """Return the minimum and the maximum of a length."""
    least = math.ceil(to_number(schema.get(f"min{what}", 0), f"min{what}", path))
    most = to_number(schema[f"max{what}"], f"max{what}", path) if f"max{what}" in schema else math.inf
    if least > most:
        raise SchemaError((*path, f"min{what}"), f"{least} is more than the 'max{what}' of {most}")
    if least > LARGEST:
        raise SchemaError((*path, f"min{what}"), f"{least} is more than can be made")
    return max(0, least), most


def listed(schema: dict[str, Any], path: Path, admits: Callable[[Any, Any, Path], bool], work: Work) -> Node:
    """Compile ``const`` and ``enum``; ``admits`` returns whether a value conforms to the schema at a path."""
    word = "const" if "const" in schema else "enum"
    values = [schema["const"]] if word == "const" else schema["enum"]
    if not values:
        return Never((*path, word), "must be a list with at least one value")
    try:
        work.spend(len(orjson.dumps(values)) // 100)
    except TypeError:
        return Never((*path, word), "has a value that is nested too deeply, or too large a number")
    rest = {key: asked for key, asked in schema.items() if key != word}
    fitting = [value for value in values if admits(rest, value, path)]
    if not fitting:
        return Never((*path, word), "none of its values satisfies the other keywords")
    usual = [value for value in fitting if value is not None] or fitting
    return Made(path, lambda random: random.choice(usual), values=lambda: fitting)


def asked_of(schema: dict[str, Any], word: str) -> list[Any]:
    """Return all values of a keyword, which a merged schema may have several of."""
    return [part[word] for part in (schema, *schema.get(ALSO, ())) if isinstance(part, dict) and word in part]


def pattern_of(pattern: Any, schema: dict[str, Any], path: Path, work: Work) -> Pattern:
    """Compile a pattern for a text; raise SchemaError if no text matches."""
    try:
        return Pattern(pattern, *bounds(schema, "Length", path), work.patterns)
    except PatternError as error:
        raise SchemaError((*path, "pattern"), str(error)) from None


def scalar(kind: Any, schema: dict[str, Any], path: Path, work: Work) -> Node:
    """Compile a scalar of the type ``kind``."""
    if kind == "string":
        return _string(schema, path, work)
    if kind in ("number", "integer"):
        return _number(schema, kind == "integer", path, work)
    if kind == "boolean":
        return Made(path, lambda random: random.random() < 0.5, values=lambda: [True, False])
    if kind == "null":
        return Made(path, lambda random: None, values=lambda: [None])
    return Never((*path, "type"), f"there is no type {kind!r}")


def _string(schema: dict[str, Any], path: Path, work: Work) -> Node:
    least, most = bounds(schema, "Length", path)
    name = next((name for name in asked_of(schema, "format") if name in FORMATS), None)
    form = None if name is None else FORMATS[name]
    if form is not None:
        work.spend(50 + 3 * least)
    make = None if form is None else form.generator_for_lengths(least, most)
    if form is not None and make is None:
        return Never((*path, "format"), f"a {name} of this length cannot be made")
    patterns = [pattern_of(pattern, schema, path, work) for pattern in asked_of(schema, "pattern")]
    if form is not None and make is not None and patterns:
        make = _alike(form, make, patterns, (least, most), (*path, "pattern"), work)
    elif len(patterns) > 1:
        make = _alike(None, None, patterns, (least, most), (*path, "pattern"), work)
    elif patterns:
        make = patterns[0].make
    if make is None:
        return Made(path, _words(least, most), 1 + least, _letters(least, most))
    wide = None if form is None or patterns else _further(form, make, least, most, work)
    return Made(path, make, 1 + least, wide, steps=10)


def _letters(least: int, most: float) -> Callable[[Random], str]:
    longest = int(min(most, max(least, _LETTERS)))
    shortest = longest if longest > 2 else least
    return lambda random: "".join(random.choices(ascii_lowercase, k=random.randint(shortest, longest)))


def _further(
    form: Format, make: Callable[[Random], str], least: int, most: float, work: Work
) -> Callable[[Random], str]:
    """Return a function that generates longer, more varied texts of a format."""

    makers: dict[int, Callable[[Random], str]] = {}

    def further(random: Random) -> str:
        shortest = int(min(most, max(least, len(make(random)) + 4)))
        if shortest not in makers:
            work.spend(200 + 3 * shortest)
            makers[shortest] = form.generator_for_lengths(shortest, most) or make
        work.spend(20)
        return makers[shortest](random)

    return further


def _words(least: int, most: float) -> Callable[[Random], str]:
    def words(random: Random) -> str:
        start = random.randrange(len(FILLER))
        said = " ".join((FILLER[start:] + FILLER)[: random.randint(1, 3)])
        while len(said) < least:
            said += " " + said
        return said if len(said) <= most else said[: int(most)]

    return words


def _alike(
    form: Format | None,
    make: Callable[[Random], str] | None,
    patterns: list[Pattern],
    length: tuple[int, float],
    at: Path,
    work: Work,
) -> Callable[[Random], str]:
    """Return a function that generates texts of a format that match all patterns."""
    sources = [*([make] if make else []), *(pattern.make for pattern in patterns)]

    def found(random: Random, tries: int) -> str | None:
        for _ in range(tries):
            for text in _mixed([source(random) for source in sources]):
                work.spend(3 + len(text) // 100)
                if (
                    length[0] <= len(text) <= length[1]
                    and (form is None or form.holds(text))
                    and all(pattern.admits(text) for pattern in patterns)
                ):
                    return text
        return None

    sample = found(Random(0), 5 * _TRIES)
    if sample is None:
        raise SchemaError(at, "no text was found that matches it and the other keywords")

    def alike(random: Random) -> str:
        return found(random, _TRIES) or sample

    return alike


def _mixed(texts: list[str]) -> Iterator[str]:
    """Yield candidates that may conform to all: the texts, and their combinations."""
    yield from texts
    if len(texts) < 5:
        yield from map("".join, permutations(texts))
    for one, other in permutations(texts, 2):
        for cut in range(min(len(one), _MANY) + 1):
            yield other + one[cut:]
            yield one[:cut] + other
    for text in texts:  # the match may be surrounded by other text
        yield f"a{text}"
        yield f"{text}a"


def _range(schema: dict[str, Any], path: Path) -> tuple[float, float, float]:
    """Return the minimum, the maximum, and ``multipleOf``; 0 without it."""
    words = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf")
    found = {word: to_number(schema[word], word, path) for word in words if word in schema}
    low = max(found.get("minimum", -math.inf), found.get("exclusiveMinimum", -math.inf))
    high = min(found.get("maximum", math.inf), found.get("exclusiveMaximum", math.inf))
    step = found.get("multipleOf", 0)
    if step < 0 or ("multipleOf" in found and step == 0):
        raise SchemaError((*path, "multipleOf"), "must be above 0")
    return low, high, step


def _number(schema: dict[str, Any], whole: bool, path: Path, work: Work) -> Node:
    low, high, step = _range(schema, path)
    outside = {schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")}
    bounding = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
    at = (*path, next((word for word in bounding if word in schema), "type"))
    if not whole and not step:
        make, wide = _decimals(*_spanned(low, high, step, _SPAN), outside, at)
        return Made(path, make, wide=wide)
    unit = Fraction(str(step)) if step else _ONE

    def further(random: Random) -> Any:
        return _multiples(*_spanned(low, high, step, _WIDE_SPAN), unit, whole, outside, at, work)[0](random)

    multiple, few = _multiples(*_spanned(low, high, step, _SPAN), unit, whole, outside, at, work)
    return Made(path, multiple, wide=further, values=few)


def _spanned(low: float, high: float, step: float, span: float) -> tuple[float, float]:
    """Return both bounds; a missing one is set at least ``span`` away from the other."""
    if low == -math.inf:
        below = high - max(span, abs(high) * 1e-3, 20 * step)
        low = 1 if high > max(1 + span, step) else max(-sys.float_info.max, below)
    if high == math.inf:
        high = min(sys.float_info.max, low + max(span, abs(low) * 1e-3, 20 * step))
    return low, high


_Draw = Callable[[Random], Any]


def _decimals(low: float, high: float, outside: set[Any], at: Path) -> tuple[_Draw, _Draw]:
    """Return functions that generate short decimals, and any numbers."""
    least, most = _float_within(low, outside, math.inf), _float_within(high, outside, -math.inf)
    if least > most:
        raise SchemaError(at, "no number fits these bounds")

    def decimal(random: Random) -> Any:
        value = low + (high - low) * random.random()
        for digits in (2, 6, 12):
            if low < round(value, digits) < high:
                return round(value, digits)
        return min(max(value, least), most)

    return decimal, lambda random: min(max(low + (high - low) * random.random(), least), most)


def _float_within(bound: float, outside: set[Any], to: float) -> float:
    """Return the float closest to a bound, on the side ``to`` of it or equal to it."""
    found = float(bound)
    if found == bound:
        return math.nextafter(found, to) if bound in outside else found
    return found if (found > bound) == (to > 0) else math.nextafter(found, to)


def _multiples(
    low: float, high: float, step: Fraction, whole: bool, outside: set[Any], at: Path, work: Work
) -> tuple[_Draw, Callable[[], list[Any] | None]]:
    """Return functions that generate multiples of ``step`` within bounds, whole ones if required, and list all
    if few.
    """
    unit = step.numerator if whole or step.denominator == 1 else step
    work.spend(5 if unit == 1 else 20)
    if unit == 1:
        first, last = math.ceil(low), math.floor(high)
    else:
        first, last = math.ceil(Fraction(str(low)) / unit), math.floor(Fraction(str(high)) / unit)
    first += first * unit in outside
    last -= last * unit in outside
    if first > last:
        raise SchemaError(at, "no number fits these bounds")
    near = max(abs(first), abs(last)) * unit <= 2**53  # every integer up to this has an exact float
    steps = 10 + max(first.bit_length(), last.bit_length(), unit.denominator.bit_length()) // 20

    def number(place: int) -> Any:
        work.spend(steps)
        multiple = place * unit
        if multiple.denominator == 1 and _LEAST_INTEGER <= multiple <= _LARGEST_INTEGER:
            return multiple.numerator
        value = float(multiple)
        return value if _fits(value, low, high, step, outside, near) else None

    def draw(random: Random, tries: int) -> Any:
        drawn = (number(random.randint(first, last)) for _ in range(tries))
        return next((value for value in drawn if value is not None), None)

    def few() -> list[Any] | None:
        if last - first >= _FEW:
            return None
        return [value for place in range(first, last + 1) if (value := number(place)) is not None]

    if unit.denominator == 1 and first * unit >= _LEAST_INTEGER and last * unit <= _LARGEST_INTEGER:
        factor = unit.numerator
        return lambda random: random.randint(first, last) * factor, few
    sample = draw(Random(0), _MANY_TRIES)
    if sample is None:
        raise SchemaError(at, "no number fits these bounds that JSON can hold")

    def multiple(random: Random) -> Any:
        value = draw(random, _TRIES)
        return sample if value is None else value

    return multiple, few


def _fits(value: float, low: float, high: float, step: Fraction, outside: set[Any], near: bool) -> bool:
    """Return whether a float is a multiple within bounds, regardless of a validator's method of division."""
    if not (low <= value <= high) or value in outside or not (value / float(step)).is_integer():
        return False
    if near:
        return True
    told_alike = step > 2**53 or step.denominator > 1 or Fraction(value) % step == 0
    return told_alike and Fraction(str(value)) % step == 0  # the JSON text is decimal, the parsed float is binary
