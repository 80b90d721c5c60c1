"""JSON generated from a schema, checked by an independent validator."""

import re
from random import Random

import orjson
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fastmock.content.json_schema.generator import Maker, SchemaError
from tests.support import examples

pytestmark = pytest.mark.unit

NAMES = st.sampled_from(["a", "b", "name", "items", "$x"])
NUMBERS = st.integers(-50, 50) | st.sampled_from([0.5, 2.25, -3.5, 1e6])
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["x", "yes", ""]) | st.just(1.5)
FORMATS = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"]
PATTERNS = [
    "^[a-z]+$",
    r"^\d{3}-\d{4}$",
    "^(a|bc)+$",
    "x",
    r"^[^aeiou]{2,5}$",
    r"^(\w)\1$",
    "^@[A-Z_]{1,15}$",
    "(?i)^ab$",
]
MULTIPLES = st.sampled_from([1, 2, 5, 0.5, 0.1, 0.25, 7])


def some(required, **optional):
    return st.fixed_dictionaries({key: st.just(value) for key, value in required.items()}, optional=optional)


LEAVES = st.one_of(
    some({"type": "string"}),
    some({"type": "string"}, minLength=st.integers(0, 20), maxLength=st.integers(20, 40)),
    st.builds(lambda one: {"type": "string", "format": one}, st.sampled_from(FORMATS)),
    st.builds(lambda one: {"type": "string", "pattern": one}, st.sampled_from(PATTERNS)),
    some({"type": "integer"}, minimum=NUMBERS, maximum=NUMBERS, multipleOf=MULTIPLES),
    some({"type": "number"}, exclusiveMinimum=NUMBERS, exclusiveMaximum=NUMBERS, multipleOf=MULTIPLES),
    some({"type": "number"}, minimum=NUMBERS, exclusiveMaximum=NUMBERS),
    st.sampled_from(
        [{"type": "boolean"}, {"type": "null"}, {"$ref": "#/$defs/one"}, {"$ref": "#/$defs/two"}, True, {}]
    ),
    st.builds(lambda one: {"$ref": f"#/$defs/{one}", "description": "d"}, st.sampled_from(["one", "two"])),
    st.builds(lambda values: {"enum": values}, st.lists(SCALARS, min_size=1, max_size=4)),
    st.builds(lambda value: {"const": value}, SCALARS),
    st.builds(
        lambda kind, values: {"type": kind, "enum": values},
        st.sampled_from(["string", "integer", "number", ["string", "null"]]),
        st.lists(SCALARS, min_size=1, max_size=4),
    ),
    st.builds(
        lambda kinds: {"type": kinds},
        st.lists(st.sampled_from(["string", "integer", "null", "boolean"]), min_size=1, unique=True),
    ),
)


def objects(inner):
    def built(properties, optional, closed):
        made = {"type": "object", "properties": properties, "required": [n for n in properties if n not in optional]}
        return made | ({"additionalProperties": False} if closed else {})

    return st.builds(built, st.dictionaries(NAMES, inner, max_size=4), st.sets(NAMES), st.booleans())


def schemas(inner):
    return st.one_of(
        objects(inner),
        st.builds(lambda one: {"type": "object", "additionalProperties": one}, inner),
        st.builds(
            lambda one, least, more: {"type": "array", "items": one, "minItems": least, "maxItems": least + more},
            inner,
            st.integers(0, 4),
            st.integers(0, 3),
        ),
        st.builds(
            lambda ones: {"type": "array", "prefixItems": ones, "items": False, "minItems": len(ones)},
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda ones: {"anyOf": ones}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda one: {"anyOf": [one, {"type": "null"}]}, inner),
        st.builds(lambda one: {"allOf": [one], "title": "t"}, inner),
    )


SCHEMAS = st.recursive(LEAVES, schemas, max_leaves=8)


@examples(60)
@given(SCHEMAS, SCHEMAS, SCHEMAS, st.integers(0, 3))
@example({"$ref": "#/$defs/one"}, {"type": "object", "properties": {"a": {"$ref": "#/$defs/one"}}}, True, 0)
@example({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001}, True, True, 1)
def test_generated_value_validates_against_its_schema(schema, one, two, seed):
    import jsonschema

    whole = {"$defs": {"one": one, "two": two}, "anyOf": [schema]}
    validator = jsonschema.Draft202012Validator(whole, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    try:
        maker = Maker(whole)
    except SchemaError:
        # Whether it really cannot be met no validator tells; that a value is not valid, it does.
        assume(False)
    value = maker.make(Random(seed))
    assert value == maker.make(Random(seed))
    try:
        validator.validate(value)
    except RecursionError:  # of {"$ref": "#"} beside something that ends the validator finds no end
        assume(False)


TRIED = st.one_of(
    st.builds(lambda ones: {"oneOf": ones}, st.lists(SCHEMAS, min_size=1, max_size=3)),
    st.builds(lambda one, other: {"allOf": [one], "not": other}, SCHEMAS, LEAVES),
    st.builds(lambda ones: {"allOf": ones}, st.lists(SCHEMAS, min_size=2, max_size=2)),
    st.builds(lambda a, b, c: {"if": a, "then": b, "else": c}, LEAVES, SCHEMAS, SCHEMAS),
    st.builds(
        lambda one, other, least: {"type": "array", "items": one, "contains": other, "minItems": least},
        SCHEMAS,
        LEAVES,
        st.integers(0, 3),
    ),
    st.builds(
        lambda one, least: {"type": "array", "items": one, "uniqueItems": True, "minItems": least},
        SCHEMAS,
        st.integers(0, 4),
    ),
    st.builds(
        lambda one, name, pattern: one | {"propertyNames": name, "patternProperties": {"^a": pattern}},
        objects(LEAVES),
        st.sampled_from([True, {"maxLength": 1}, {"pattern": "^[ab]$"}]),
        LEAVES,
    ),
)


@examples(60)
@given(TRIED, SCHEMAS, SCHEMAS, st.integers(0, 3))
def test_generated_value_found_by_search_validates(schema, one, two, seed):
    test_generated_value_validates_against_its_schema.hypothesis.inner_test(schema, one, two, seed)


def test_random_schemas_are_mostly_satisfiable():
    """So that the test above looks at more than it lets go."""
    met = []

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(SCHEMAS)
    def count(schema):
        try:
            Maker({"$defs": {"one": {}, "two": {}}, "anyOf": [schema]})
            met.append(True)
        except SchemaError:
            met.append(False)

    count()
    assert sum(met) > 0.8 * len(met)


TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "children", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}


def test_recursive_schema_yields_finite_nested_values():
    import jsonschema

    value = Maker(TREE).make(Random(1))
    jsonschema.validate(value, TREE)
    assert value["children"]
    wide = {"type": "object", "properties": {f"p{i}": {"$ref": "#"} for i in range(100)}}
    jsonschema.validate(Maker(wide).make(Random(1)), wide)


@pytest.mark.parametrize(
    ("schema", "path", "message"),
    [
        (False, (), "nothing is allowed"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, ("minimum",), "no number fits"),
        ({"type": "integer", "exclusiveMinimum": 2, "exclusiveMaximum": 3}, ("exclusiveMinimum",), "no number fits"),
        ({"type": "number", "minimum": 1, "exclusiveMaximum": 1}, ("minimum",), "no number fits"),
        ({"enum": []}, ("enum",), "at least one value"),
        ({"type": "string", "enum": [1, None]}, ("enum",), "none of its values"),
        ({"type": "integer", "const": True}, ("const",), "none of its values"),
        ({"type": "string", "format": "uuid", "const": "x"}, ("const",), "none of its values"),
        ({"type": "string", "format": "uuid", "pattern": "^x"}, ("pattern",), "no text was found"),
        ({"type": "string", "format": "ipv4", "pattern": "^[a-z]+$"}, ("pattern",), "no text was found"),
        ({"type": "string", "format": "email", "maxLength": 2}, ("format",), "cannot be made"),
        ({"type": "string", "format": "uuid", "maxLength": 35}, ("format",), "cannot be made"),
        ({"allOf": [{"pattern": "^a"}, {"pattern": "^b"}]}, ("pattern",), "no text was found"),
        ({"oneOf": [{"type": "string"}, {"type": "string"}]}, ("oneOf",), "no value was found"),
        (
            {"properties": {"a": {"oneOf": [{}, {}]}}, "required": ["a"]},
            ("properties", "a", "oneOf"),
            "no value was found",
        ),
        ({"type": "null", "not": {"const": None}}, ("not",), "no value was found"),
        ({"not": {}}, ("not",), "no value was found"),
        ({"type": "array", "enum": [[1]], "minItems": 2}, ("enum",), "none of its values"),
        ({"enum": [{"a": 1}], "properties": {"a": {"type": "string"}}}, ("enum",), "none of its values"),
        (
            {"type": "array", "items": {"type": "string"}, "contains": {"const": 1}},
            ("contains", "const"),
            "none of its",
        ),
        ({"type": "array", "contains": {}, "maxItems": 0}, ("contains",), "more items than"),
        ({"propertyNames": {"maxLength": 2}, "required": ["abc"]}, ("propertyNames",), "no such name"),
        ({"propertyNames": {"enum": ["a"]}, "minProperties": 2}, (), "1 properties at the most"),
        ({"not": {"minLength": "x"}, "type": "string"}, (), "cannot have"),
        ({"not": {"pattern": "("}, "type": "string"}, ("pattern",), "not a regular expression"),
        ({"type": "strin"}, ("type",), "no type 'strin'"),
        ({"$ref": "#/$defs/x"}, ("$ref",), "there is no #/$defs/x"),
        ({"$ref": "other.json"}, ("$ref",), "inside the schema"),
        ({"$ref": "#"}, (), "contains itself without end"),
        ({"allOf": [{"$ref": "#"}]}, ("allOf", 0, "$ref"), "contains itself without end"),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, (), "contains itself without end"),
        ({"properties": {"a": False}, "required": ["a"]}, ("properties", "a"), "nothing is allowed"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, ("required",), "'a' is required"),
        (
            {"type": "array", "items": {"type": "null", "enum": [1]}, "minItems": 1},
            ("items", "enum"),
            "none of its values",
        ),
        ({"type": "array", "minItems": 3, "maxItems": 2}, ("minItems",), "more than"),
        ({"type": "array", "minItems": 10**9}, ("minItems",), "more than can be made"),
        ({"type": "array", "minItems": 1000, "items": {"type": "array", "minItems": 1000}}, (), "more than 100000"),
        ({"type": "string", "pattern": "("}, ("pattern",), "not a regular expression"),
        ({"type": "string", "pattern": "^a$", "minLength": 2}, ("pattern",), "no text was found"),
        ({"type": "string", "minLength": "x"}, ("minLength",), "must be a number"),
        ({"anyOf": [{"type": "string", "enum": [1]}, False]}, ("anyOf", 0, "enum"), "none of its values"),
        ({"anyOf": 3}, ("anyOf",), "must be a list"),
        ({"allOf": None}, ("allOf",), "must be a list"),
        (
            {"anyOf": [{"anyOf": [{"allOf": 3}]}], "allOf": [{"anyOf": [{}]}]},
            ("anyOf", 0, "anyOf", 0, "allOf"),
            "a list",
        ),
        ({"$ref": 3}, ("$ref",), "must be a string"),
        ({"items": 3}, ("items",), "must be an object or a boolean"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, ("allOf", 1, "type"), "at once"),
        ({"properties": [1]}, ("properties",), "must be an object"),
        (
            {
                "type": "object",
                "allOf": [
                    {"properties": {"a": {}}, "additionalProperties": False},
                    {"properties": {"b": {}}, "required": ["b"]},
                ],
            },
            ("properties", "b"),
            "nothing is allowed",
        ),
        ({"required": [1]}, ("required",), "list of names"),
        ({"type": ["string", 3], "minLength": 1, "enum": []}, ("enum",), "at least one value"),
        ({"type": 3}, ("type",), "must be a string"),
        (3, (), "must be an object or a boolean"),
    ],
)
def test_unsatisfiable_schema_is_rejected_with_its_path(schema, path, message):
    with pytest.raises(SchemaError) as caught:
        Maker(schema)
    assert caught.value.path == path
    assert message in str(caught.value)


def check(schema, seeds=20):
    """Make values; an independent validator takes them as what a client reads."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    maker = Maker(schema)
    values = [orjson.loads(orjson.dumps(maker.make(Random(seed)))) for seed in range(seeds)]
    assert values == [maker.make(Random(seed)) for seed in range(seeds)]
    for value in values:
        validator.validate(value)
    return values


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 1e30},
        {"type": "integer", "exclusiveMinimum": 1e30},
        {"type": "integer", "minimum": 2**64},
        {"type": "integer", "minimum": 2**64, "multipleOf": 7},
        {"type": "integer", "minimum": 2**63 - 5, "maximum": 2**63 + 5},
        {"type": "integer", "maximum": -1e30},
        {"type": "integer", "exclusiveMaximum": -1e30},
        {"type": "integer", "minimum": 1.7e308},
        {"type": "integer", "multipleOf": 1e25},
        {"type": "integer", "multipleOf": 1e25, "minimum": 1e30},
        {"type": "number", "multipleOf": 1e25},
        {"type": "number", "minimum": 2**64},
        {"type": "number", "minimum": 2**53 + 1, "maximum": 2**53 + 2},
        {"type": "integer", "multipleOf": 1000, "maximum": -1},
        {"type": "integer", "multipleOf": 1000, "maximum": 500},
        {"type": "array", "items": {"type": "integer", "minimum": 1e20}, "minItems": 2},
    ],
)
def test_numbers_of_any_magnitude_are_generated(schema):
    check(schema)


def test_number_json_cannot_represent_is_rejected():
    with pytest.raises(SchemaError, match="that JSON can hold") as caught:
        Maker({"type": "integer", "minimum": 2**64 + 1, "maximum": 2**64 + 3})
    assert caught.value.path == ("minimum",)
    with pytest.raises(SchemaError, match="no number fits"):
        Maker({"type": "number", "exclusiveMinimum": 5, "exclusiveMaximum": 5.000000000000001})


RECURSIVE = [
    {"$ref": "#", "type": "object"},
    {"$ref": "#", "additionalProperties": False},
    {"$ref": "#", "minProperties": 1},
    {"$ref": "#", "required": ["n"]},
    {"$ref": "#", "type": "object", "description": "d"},
    {"allOf": [{"$ref": "#"}]},
    {"allOf": [{"$ref": "#"}], "title": "t"},
    {"allOf": [{"$ref": "#"}, {"minProperties": 1}]},
    {"allOf": [{"allOf": [{"$ref": "#"}]}]},
]


@pytest.mark.parametrize("again", RECURSIVE)
def test_reference_with_sibling_keywords_recurses_finitely(again):
    nullable = {"anyOf": [again, {"type": "null"}]}
    closed = {"required": ["n"], "additionalProperties": False}
    schema = {"type": "object", "properties": {"n": nullable}, **closed}
    assert {"n": None} in check(schema) or any(value["n"]["n"] is None for value in check(schema))
    check({"type": "object", "properties": {"n": again}})
    check({"type": "object", "properties": {"n": {"type": "array", "items": again}}, "required": ["n"]})
    moved = orjson.loads(orjson.dumps(schema).replace(b'"#"', b'"#/$defs/N"'))
    check({"$defs": {"N": moved}, "$ref": "#/$defs/N"})
    check({"$defs": {"N": moved}, "type": "object", "allOf": [{"$ref": "#/$defs/N"}]})
    check({"type": "object", "properties": {"a": {"type": "integer"}, "n": again}, "required": ["a"]})
    with_types = {"type": "object", "properties": {"n": {**again, "type": ["object", "null"]}}}
    Maker(with_types)


def test_reference_that_grows_recurses_finitely():
    grows = {"$ref": "#", "properties": {"n": {"properties": {"m": {"$ref": "#"}}}}}
    schema = {"type": "object", "properties": {"n": {"anyOf": [grows, {"type": "null"}]}}, "required": ["n"]}
    check(schema)
    itself = {
        "type": ["object", "null"],
        "anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}],
        "$defs": {"a": {"$ref": "#"}},
    }
    assert Maker(itself).make(Random(0)) is None  # the validator finds no end to this


@pytest.mark.parametrize(
    "schema",
    [
        {
            "allOf": [{"properties": {"a": {}}, "additionalProperties": False}, {"properties": {"b": {}}}],
            "type": "object",
        },
        {
            "type": "object",
            "allOf": [
                {"properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}},
                {"properties": {"b": {"minimum": 3}}, "required": ["b"], "patternProperties": {"^a": {"minLength": 5}}},
            ],
        },
        {
            "allOf": [{"additionalProperties": {"type": "integer"}}, {"additionalProperties": {"minimum": 3}}],
            "type": "object",
            "minProperties": 2,
        },
    ],
)
def test_merged_subschemas_keep_their_constraints(schema):
    check(schema)


LOOKS = {
    "date-time": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$",
    "time": r"^\d\d:\d\d:\d\d(\.\d+)?Z$",
    "duration": r"^P(?=.)(\d+D)?(T(?=\d)(\d+H)?(\d+M)?)?$",
    "hostname": r"^(?=.{1,253}$)[a-z]{1,63}(\.[a-z]{1,63})*$",
    "uri": r"^([a-z]+://[a-z.]+(/[a-z]*)?|x:[a-z]*)$",
    "email": r"^[a-z]{1,64}@[a-z]+(\.[a-z]+)*$",
}
LENGTHS = [
    ("email", {"minLength": 8, "maxLength": 10}),
    ("email", {"maxLength": 14}),
    ("email", {"maxLength": 6}),
    ("email", {"minLength": 20}),
    ("email", {"minLength": 40}),
    ("email", {"minLength": 200, "maxLength": 254}),
    ("uri", {"maxLength": 15}),
    ("uri", {"maxLength": 20}),
    ("uri", {"maxLength": 7}),
    ("uri", {"minLength": 30}),
    ("uri", {"minLength": 60}),
    ("uri", {"minLength": 1, "maxLength": 2083}),
    ("hostname", {"maxLength": 4}),
    ("hostname", {"minLength": 66, "maxLength": 70}),
    ("ipv4", {"maxLength": 7}),
    ("ipv4", {"maxLength": 10}),
    ("ipv4", {"minLength": 15}),
    ("ipv4", {"minLength": 12, "maxLength": 14}),
    ("ipv6", {"maxLength": 4}),
    ("ipv6", {"minLength": 7, "maxLength": 10}),
    ("ipv6", {"minLength": 15, "maxLength": 15}),
    ("ipv6", {"minLength": 20}),
    ("ipv6", {"minLength": 39}),
    ("duration", {"maxLength": 3}),
    ("duration", {"minLength": 9}),
    ("date-time", {"minLength": 24}),
    ("date-time", {"maxLength": 20}),
    ("time", {"minLength": 12, "maxLength": 13}),
    ("uuid", {"minLength": 36, "maxLength": 36}),
    ("uuid", {"maxLength": 255}),
    ("date", {"maxLength": 10}),
]


@pytest.mark.parametrize(("form", "length"), LENGTHS)
def test_formats_with_length_limits_are_generated(form, length):
    for value in check({"type": "string", "format": form, **length}, seeds=50):
        assert re.search(LOOKS.get(form, ""), value)


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ("date", "^2024-"),
        ("date", "^1999-12-"),
        ("date", r"^\d{4}-\d{2}-\d{2}$"),
        ("date-time", "Z$"),
        ("email", "^[a-z]+@corp\\.com$"),
        ("email", "@example\\.org$"),
        ("hostname", "\\.local$"),
        ("ipv4", r"^10\."),
        ("ipv4", r"^127\.0\.0\.1$"),
        ("ipv6", "^fe80"),
        ("uuid", "^[0-9a-f]{8}-"),
        ("uuid", "^00000000-"),
        ("uri", "^https://"),
        ("uri", "^https://github\\.com/"),
        ("duration", "^PT"),
    ],
)
def test_formats_with_a_pattern_are_generated(form, pattern):
    for value in check({"type": "string", "format": form, "pattern": pattern}):
        looks = LOOKS.get(form, "").replace(r"(\d+D)?", r"(\d+Y)?(\d+M)?(\d+D)?")
        assert re.search(looks, value)


def test_several_patterns_are_satisfied_together():
    check({"type": "string", "allOf": [{"pattern": "^a"}, {"pattern": "z$"}, {"pattern": "[0-9]"}]})
    check({"type": "string", "allOf": [{"pattern": "^[a-z]+$"}, {"pattern": "^.{3}$"}], "minLength": 3})


PETS = {
    name: {
        "type": "object",
        "properties": {"kind": {"const": name}, "a": {"type": "string"}},
        "required": ["kind"],
        "additionalProperties": False,
    }
    for name in ("cat", "dog")
}
EITHER = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"oneOf": [{"type": "integer", "multipleOf": 3}, {"type": "integer", "multipleOf": 5}]},
        {"oneOf": [{"type": "number"}, {"type": "integer"}]},
        {"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 5}]},
        {"oneOf": [{"type": "integer", "minimum": 0}, {"type": "integer", "maximum": 10}]},
        {"oneOf": [{"required": ["a"]}, {"required": ["b"]}], **EITHER},
        {"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "not": {"required": ["a", "b"]}, **EITHER},
        {"oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}], "$defs": PETS},
        {"type": "array", "minItems": 3, "items": {"oneOf": [{"enum": [1, 2, 3]}, {"enum": [2, 3, 4]}]}},
        {
            "type": "object",
            "properties": {"next": {"oneOf": [{"$ref": "#"}, {"type": ["null", "object"], "maxProperties": 0}]}},
            "required": ["next"],
        },
        {"type": ["string", "null"], "not": {"type": "string"}},
        {"not": {"type": "string"}},
        {"not": {"enum": ["a"]}, "type": "string"},
        {"type": "integer", "minimum": 1, "maximum": 3, "not": {"enum": [1, 2]}},
        {"enum": [1, 2, "x"], "not": {"type": "integer"}},
        {"allOf": [{"not": {"const": 1}}, {"not": {"const": 2}}, {"enum": [1, 2, 3]}]},
        {"type": "array", "enum": [[1], [1, 2]], "minItems": 2},
        {"enum": [{"a": 1}, {"b": 1}], "required": ["b"]},
        {"type": "array", "items": {"type": "integer"}, "contains": {"const": 1000}},
        {"contains": {"type": "integer"}, "minContains": 2, "maxContains": 3},
        {"type": "array", "prefixItems": [{"type": "null"}], "contains": {"type": "string"}},
        {"type": "array", "prefixItems": [{"enum": ["a", 1]}], "contains": {"const": 1}, "maxItems": 1},
        {
            "type": "object",
            "allOf": [{"patternProperties": {"^a": True}}, {"additionalProperties": False, "properties": {"a": {}}}],
        },
        {"type": "array", "items": {"type": "integer"}, "contains": {"minimum": 5}, "minItems": 4, "maxContains": 1},
        {"allOf": [{"contains": {"const": 1}}, {"contains": {"const": 1}, "maxContains": 3}], "type": "array"},
        {"type": "object", "propertyNames": {"pattern": "^x-"}, "minProperties": 3},
        {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "integer"}},
        {"type": "object", "propertyNames": {"maxLength": 2}, "minProperties": 2, "properties": {"long": {}}},
        {
            "type": "object",
            "propertyNames": {"$ref": "#/$defs/n"},
            "minProperties": 1,
            "$defs": {"n": {"minLength": 20}},
        },
        {"type": "object", "propertyNames": False},
        {"type": "object", "patternProperties": {"^a": {"type": "integer"}, "b$": {"minimum": 5}}, "required": ["ab"]},
        {"type": "object", "patternProperties": {"^a": {"minLength": 30}}, "properties": {"a": {"type": "string"}}},
        {"type": "object", "patternProperties": {"^a$": {"type": "null"}}, "minProperties": 3},
        {"if": {"required": ["a"]}, "then": {"required": ["c"]}, "else": {"required": ["d"]}, **EITHER},
        {"type": "integer", "if": {"minimum": 10}, "then": {"multipleOf": 7}, "else": {"const": 3}},
        {"dependentRequired": {"a": ["c"]}, **EITHER},
        {"dependentSchemas": {"a": {"minProperties": 4}}, **EITHER, "required": ["a"], "minProperties": 4},
        {"allOf": [EITHER, {"properties": {"c": {"type": "null"}}}], "unevaluatedProperties": False},
        {"allOf": [{"prefixItems": [{"minimum": 3}]}, {"items": {"type": "integer"}}], "type": "array"},
        {"allOf": [{"format": "uuid"}, {"format": "x"}, {"pattern": "^0"}], "type": "string"},
    ],
)
def test_schema_needing_search_yields_valid_values(schema):
    check(schema)


@pytest.mark.parametrize(
    "items",
    [
        {"type": "string"},
        {"type": "string", "minLength": 2, "maxLength": 3},
        {"type": "string", "pattern": "^[a-z]{6}$"},
        {"type": "string", "format": "email"},
        {"type": "string", "format": "ipv4"},
        {"type": "string", "format": "uri"},
        {"type": "string", "format": "date"},
        {"type": "integer"},
        {"type": "integer", "minimum": 1, "maximum": 200},
        {"type": "number", "minimum": 0, "maximum": 0.05},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"$ref": "#/$defs/one"},
        {},
    ],
)
def test_unique_items_200_are_generated(items):
    schema = {"type": "array", "items": items, "minItems": 200, "uniqueItems": True}
    check({**schema, "$defs": {"one": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}}, seeds=3)


@pytest.mark.parametrize(
    ("items", "count"),
    [
        ({"enum": ["a", "b", "c"]}, 3),
        ({"$ref": "#/$defs/few"}, 3),
        ({"type": "boolean"}, 2),
        ({"type": ["boolean", "null"]}, 3),
        ({"type": "integer", "minimum": 1, "maximum": 3}, 3),
        ({"type": "number", "multipleOf": 0.5, "minimum": 1, "maximum": 3}, 5),
        ({"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": False}, 2),
        ({"type": "string", "maxLength": 1, "pattern": "^[ab]$"}, 2),
        ({"enum": [1, 1.0, True]}, 2),
    ],
)
def test_unique_items_up_to_all_values_are_generated(items, count):
    schema = {"type": "array", "items": items, "uniqueItems": True, "$defs": {"few": {"enum": [1, 2, None]}}}
    check({**schema, "minItems": count})
    check(schema)
    with pytest.raises(SchemaError) as caught:
        Maker({**schema, "minItems": count + 1})
    assert caught.value.path == ("uniqueItems",)


def test_discriminated_union_needs_no_search():
    """So that discriminated unions cost nothing."""
    kinds = [{"type": "object", "properties": {"k": {"const": n}}, "required": ["k"]} for n in range(3)]
    maker = Maker({"oneOf": [*kinds, {"type": "null"}, {"type": "integer"}]})
    assert {type(maker.make(Random(seed))) for seed in range(50)} == {dict, int}
    assert len({repr(Maker({"oneOf": [{"type": "number"}]}).make(Random(seed))) for seed in range(30)}) > 8


def test_schema_nested_too_deeply_is_rejected():
    schema: dict = {"type": "string"}
    for _ in range(900):
        schema = {"anyOf": [schema]}
    with pytest.raises(SchemaError, match="too deeply"):
        Maker(schema)


@pytest.mark.parametrize(
    "pattern", [r"^(?=.*\d)[a-z\d]{4,8}$", r"^[\w.]+@[\w.]+\.\w{2,}$", r"^.{3}$", r"\bfoo\b", "[]a]"]
)
def test_common_patterns_are_matched(pattern):
    import jsonschema

    schema = {"type": "string", "pattern": pattern}
    maker = Maker(schema)
    for seed in range(20):
        jsonschema.validate(maker.make(Random(seed)), schema)


def test_optional_oversized_parts_are_left_out():
    rows = {"type": "array", "minItems": 100_000}
    table = {**rows, "items": rows}
    assert Maker({"type": "object", "properties": {"a": table}}).make(Random(1)) == {}
    assert Maker({"anyOf": [table, {"type": "null"}]}).make(Random(1)) is None
    assert Maker({"type": "array", "items": table}).make(Random(1)) == []


@pytest.mark.timeout(20)
def test_unique_items_beyond_the_possible_are_rejected_quickly():
    for items in ({"type": "boolean"}, {"enum": list(range(2000))}, {"type": "string", "pattern": "^[ab]$"}):
        with pytest.raises(SchemaError):
            Maker({"type": "array", "items": items, "uniqueItems": True, "minItems": 2001})
    Maker({"type": "array", "items": {"type": "string"}, "uniqueItems": True, "minItems": 5000})


def test_const_nested_too_deeply_is_rejected():
    value: list = []
    for _ in range(300):
        value = [value]
    with pytest.raises(SchemaError, match="too deeply"):
        Maker({"const": value})


@pytest.mark.parametrize(
    ("pattern", "python"),
    [
        (r"[^\x00-\x7F]", None),
        (r"^[^ -~]+$", None),
        (r"^\p{Lu}\p{L}+$", "^[A-Z][A-Za-z]+$"),
        (r"^[\p{L}\p{N}_-]+$", r"^[\w-]+$"),
        (r"^\P{L}$", "^[^A-Za-z]$"),
        (r"^\p{Script=Greek}{3}$", "^[\u03b1-\u03c9]{3}$"),
        (r"^(?<year>\d{4})$", r"^\d{4}$"),
        (r"^(?<a>[a-z])\k<a>$", r"^([a-z])\1$"),
        (r"^(?<=^)(?<!x)y(?<n>z)$", "^yz$"),
        ("^[^]$", r"^[\s\S]$"),
        (r"^\cA$", "^\x01$"),
        (r"^\u{41}[\]a]$", r"^A[\]a]$"),
    ],
)
def test_ecmascript_patterns_are_matched(pattern, python):
    maker = Maker({"type": "string", "pattern": pattern})
    for seed in range(20):
        assert re.search(python or pattern, maker.make(Random(seed)))


def test_schema_too_large_is_rejected():
    twos = [{"anyOf": [{"type": "string", "minLength": n}, {"type": "null"}]} for n in range(30)]
    with pytest.raises(SchemaError, match="too many alternatives"):
        Maker({"allOf": twos})
    Maker({"allOf": twos[:1] * 30})
    again = {"properties": {"x": {}}, "anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}
    with pytest.raises(SchemaError):
        Maker({"$defs": {"a": again}, "$ref": "#/$defs/a"})
    chain = {f"a{n}": {"type": "object", "properties": {"x": {"$ref": f"#/$defs/a{n + 1}"}}} for n in range(2000)}
    defs = {**chain, "a2000": {"type": "string"}}
    Maker({"$defs": defs, "$ref": "#/$defs/a0"}).make(Random(1))
    with pytest.raises(SchemaError, match="too deeply"):
        Maker({"$defs": {name: one | {"required": ["x"]} for name, one in defs.items()}, "$ref": "#/$defs/a0"})


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(?=.*[A-Z])(?=.*\d).{8,64}$",
        r"^(?=.*[a-z])(?=.*[A-Z])(?=.*\d)(?=.*[^\w\s]).{10,}$",
        r"^(?=.*[a-z])(?=.*[A-Z])(?=.*\d)(?=.*[@$!%*?&])[A-Za-z\d@$!%*?&]{8,}$",
        r"^(?!.*\s)(?=.*[A-Z]).{4,}$",
    ],
)
def test_password_patterns_are_matched(pattern):
    maker = Maker({"type": "string", "pattern": pattern})
    assert all(re.search(pattern, maker.make(Random(seed))) for seed in range(50))
