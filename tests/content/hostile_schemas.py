"""Schemas and patterns whose cost exceeds their size by far if work is not bounded."""

HOSTILE: dict = {}


def nest(depth, around, inner):
    for _ in range(depth):
        inner = around(inner)
    return inner


def defs(depth, link, leaf):
    """Return a schema whose definitions each refer to the next by ``link``."""
    chain = {f"d{i}": link(f"#/$defs/d{i + 1}") for i in range(depth)}
    return {"$defs": {**chain, f"d{depth}": leaf}, "$ref": "#/$defs/d0"}


def ref(pointer):
    return {"$ref": pointer}


def obj(**props):
    return {"type": "object", "properties": props, "required": list(props), "additionalProperties": False}


def wrap(schema):
    return obj(a=schema)


def add(name, schema):
    HOSTILE[name] = schema


def add_pattern(name, pattern, **others):
    add(f"pattern {name}", wrap({"type": "string", "pattern": pattern, **others}))


add("enum lookahead", wrap({"type": "string", "enum": ["a" * 40 + "!"], "pattern": "(?=a)(a+)+$"}))
add(
    "patprop lookahead",
    {"type": "object", "required": ["a" * 40 + "!"], "patternProperties": {"(?=a)(a+)+$": {"type": "string"}}},
)
add_pattern("reps 2", "((a{9999}){9999})")
add_pattern("25 levels", nest(25, lambda p: f"({p}){{3}}", "a"))
add_pattern("alt 200k", "(a|b)" * 200000)
add(
    "allOf twice 22",
    defs(22, lambda n: {"allOf": [ref(n), ref(n)]}, {"type": "object", "properties": {"x": {"type": "string"}}}),
)
add(
    "oneOf twice 12",
    defs(12, lambda n: {"oneOf": [ref(n), ref(n)]}, {"type": "object", "properties": {"x": {"type": "string"}}}),
)
add("not over tree", {**defs(22, lambda n: {"allOf": [ref(n), ref(n)]}, {"type": "integer"}), "type": "object"})
add(
    "two enums",
    wrap({"allOf": [{"enum": [f"v{i}" for i in range(5000)]}, {"enum": [f"v{i}" for i in range(4999, 9999)]}]}),
)
add(
    "required twice",
    {
        "allOf": [
            {"type": "object", "required": [f"v{i}" for i in range(20000)]},
            {"required": [f"v{i}" for i in range(20000)]},
        ]
    },
)
primes = [p for p in range(2, 18000) if all(p % q for q in range(2, int(p**0.5) + 1))][:2000]
add("multipleOf 2000", wrap({"type": "integer", "allOf": [{"multipleOf": p} for p in primes]}))
add("minItems 99990", wrap({"type": "array", "items": {"type": "string"}, "minItems": 99990}))
add("minItems 99990 bool", wrap({"type": "array", "items": {"type": "boolean"}, "minItems": 99990}))
add("minItems unique", wrap({"type": "array", "items": {"type": "integer"}, "minItems": 9999, "uniqueItems": True}))
add("minContains", wrap({"type": "array", "contains": {"type": "integer"}, "minContains": 99990}))
add("minProperties", {"type": "object", "minProperties": 90000})
add("oneOf 1500", wrap({"oneOf": [{"type": "object", "properties": {"x": {"minimum": i}}} for i in range(1500)]}))
add(
    "if 400",
    {
        "type": "object",
        "allOf": [{"if": {"properties": {"a": {"const": i}}}, "then": {"required": [f"b{i}"]}} for i in range(400)],
    },
)
add(
    "if 400 nested",
    nest(
        100,
        lambda s: {
            "if": {"properties": {"a": {"const": 1}}, "required": ["a"]},
            "then": {"required": ["b"]},
            "else": s,
        },
        {"type": "object"},
    ),
)
add_pattern("25 levels of star", nest(25, lambda p: f"({p}*)*", "a"))
add_pattern("plus nest", nest(25, lambda p: f"({p}+)+", "a"))
add_pattern("backref", "(a+)+\\1$")
add_pattern("backref long", "^(.{1,1000})\\1\\1\\1\\1$")
add_pattern("possessive", "(a++)+b")
add_pattern("atomic", "(?>a*)+b")
add_pattern("conditional", "(a)?(?(1)b|c)")
add_pattern("lookbehind", "(?<=a)(?<!b)c")
add_pattern("lookahead nest", nest(20, lambda p: f"(?=({p}|a)*)", "a") + "a")
add_pattern("lookbehind quad", "(?<=a{1,1000})b" * 20)
add_pattern("neg lookahead all", "(?!.*)a")
add_pattern("unicode 1000", "\\p{L}" * 700)
add_pattern("unicode class", "[" + "\\p{L}\\p{N}\\P{P}" * 100 + "]{1,1000}")
add_pattern("unicode neg", "[^\\p{L}]" * 300)
add_pattern("neg class", "[^ -~]{1000}")
add_pattern("many neg classes", "".join(f"[^ -~{chr(200 + i)}]" for i in range(300)))
add_pattern("neg class ranges", "[^" + "".join(chr(160 + 2 * i) for i in range(1800)) + " -~]")
add_pattern("dotrep", ".{1000}" * 10)
add_pattern("dot 5000 upper", "^.{0,5000}$")
add_pattern("alt nested", nest(200, lambda p: f"(a|{p})", "b"))
add_pattern("deep paren", "(" * 1900 + ")" * 1900)
add_pattern("empty alts", "(|" * 900 + "a" + ")" * 900)
add_pattern("huge rep number", "a{99999999999999999999}")
add_pattern("huge range", "a{0,99999999999999999999}")
add_pattern("anchors", "^" * 3000 + "a" + "$" * 900)
add_pattern("boundaries", "\\b" * 1900)
add_pattern("caret classes", "[^]" * 1300)
add_pattern("caret classes open", "[^]" * 600 + "a" * 2000)
add_pattern("lookahead rep", "(?=" + "a{1000}" * 3 + ")a{1,1000}a{1,1000}b")
add_pattern("lookahead stars", "^(?=(a*)*$)(?!b)" + "a*" * 200 + "$", minLength=300)
add_pattern("scan quad", "^(?=.)" + "(a|aa)*" * 50 + "$", minLength=500)
add_pattern("case fold", "(?i)(?=k)" + "[k-s]*" * 100)
add_pattern("octal", "\\1" * 1000)
add_pattern("named groups", "".join(f"(?<n{i}>a)\\k<n{i}>" for i in range(200)))
add_pattern("minLength pattern", "a", minLength=90000)
add_pattern("long pattern with re2", "[a-z]{500}[0-9]{500}")
add_pattern("many classes", "[a-c]" * 1300)
add_pattern("flags", "(?x)" + " " * 3000 + "a")
add_pattern("comment", "(?#" + "a" * 3900 + ")(?=b)b")
add("100 patterns allOf", wrap({"type": "string", "allOf": [{"pattern": f"[a-z]{{{i}}}"} for i in range(100)]}))
add("4 patterns allOf", wrap({"type": "string", "allOf": [{"pattern": f"^(?=.*{c})"} for c in "abcdxyz"]}))
add("1000 patterns", obj(**{f"p{i}": {"type": "string", "pattern": f"^[a-z]{{1,900}}{i}$"} for i in range(1000)}))
add(
    "1000 lookahead patterns",
    obj(**{f"p{i}": {"type": "string", "pattern": f"^(?=.*{i})[0-9]{{1,900}}$"} for i in range(1000)}),
)
add(
    "patprops x props",
    {
        "type": "object",
        "patternProperties": {f"{i}$": {"type": "string"} for i in range(300)},
        "required": [f"k{i}" for i in range(300)],
    },
)
add(
    "patprops x props lookahead",
    {
        "type": "object",
        "patternProperties": {f"(?=k){i}$": {"type": "string"} for i in range(300)},
        "required": [f"k{i}" for i in range(300)],
    },
)
add("propertyNames", {"type": "object", "propertyNames": {"pattern": "^(?=(a+)+$)b*"}, "minProperties": 1000})
add(
    "propertyNames enum",
    {"type": "object", "propertyNames": {"enum": [f"k{i}" for i in range(3000)]}, "minProperties": 2900},
)
add(
    "propertyNames oneOf",
    {"type": "object", "propertyNames": {"oneOf": [{"maxLength": i} for i in range(500)]}, "minProperties": 500},
)
add(
    "dependentSchemas",
    {
        "type": "object",
        "properties": {f"k{i}": {"type": "string"} for i in range(300)},
        "dependentSchemas": {f"k{i}": {"required": [f"k{i + 1}"]} for i in range(300)},
        "required": ["k0"],
    },
)
add(
    "dependentSchemas same",
    {
        "type": "object",
        "required": [f"k{i}" for i in range(600)],
        "dependentSchemas": {f"k{i}": {"not": {"required": [f"z{j}" for j in range(100)]}} for i in range(600)},
    },
)
add(
    "dependentRequired",
    {
        "type": "object",
        "required": ["k0"],
        "dependentRequired": {f"k{i}": [f"k{j}" for j in range(300)] for i in range(300)},
    },
)
add(
    "uniqueItems nested",
    wrap(
        {
            "type": "array",
            "uniqueItems": True,
            "minItems": 200,
            "items": {"type": "array", "uniqueItems": True, "minItems": 200, "items": {"type": "integer"}},
        }
    ),
)
add(
    "uniqueItems ref choice",
    {
        "$defs": {"w": {"anyOf": [ref("#/$defs/w") for _ in range(50)] + [{"type": "boolean"}]}},
        **wrap({"type": "array", "uniqueItems": True, "minItems": 40, "items": ref("#/$defs/w")}),
    },
)
add(
    "contains nested", wrap(nest(30, lambda s: {"type": "array", "contains": s, "minContains": 3}, {"type": "integer"}))
)
add(
    "contains ref",
    {
        **defs(
            12,
            lambda n: {"type": "array", "contains": ref(n), "minContains": 2, "maxContains": 2, "items": ref(n)},
            {"type": "integer"},
        )
    },
)
add(
    "minItems product nest", wrap(nest(5, lambda s: {"type": "array", "minItems": 10, "items": s}, {"type": "integer"}))
)
add("minItems product 9", wrap(nest(9, lambda s: {"type": "array", "minItems": 9, "items": s}, {"type": "integer"})))
add(
    "minItems product refs",
    defs(16, lambda n: {"type": "array", "minItems": 2, "items": ref(n)}, {"type": "string", "minLength": 1000}),
)
add("minLength product", wrap({"type": "array", "minItems": 1000, "items": {"type": "string", "minLength": 99}}))
add(
    "minLength 99000 x many optional",
    {"type": "object", "properties": {f"k{i}": {"type": "string", "minLength": 4900} for i in range(4000)}},
)
add(
    "minProperties nest",
    nest(4, lambda s: {"type": "object", "minProperties": 17, "additionalProperties": s}, {"type": "integer"}),
)
add("required 5000", obj(**{f"k{i}": {"type": "integer"} for i in range(4900)}))
add("required unnamed 20000", {"type": "object", "required": [f"k{i}" for i in range(20000)]})
add("enum x not enum", wrap({"enum": list(range(5000)), "not": {"enum": list(range(4999))}}))
add("enum x anyOf", wrap({"enum": list(range(3000)), "anyOf": [{"minimum": i} for i in range(100)]}))
add("enum x oneOf", wrap({"enum": list(range(3000)), "oneOf": [{"const": i} for i in range(300)]}))
add("enum x pattern", wrap({"enum": ["a" * 300 + str(i) for i in range(3000)], "pattern": "^(?=a)(a*)*[0-9]+$"}))
add("enum big values", wrap({"enum": [[i] * 100 for i in range(3000)], "uniqueItems": True}))
add("enum giant", wrap({"enum": ["x" * 100 + str(i) for i in range(9000)]}))
add("const giant", wrap({"const": {"a": ["b" * 10] * 60000}}))
add("const deep", wrap({"const": nest(400, lambda s: [s], 1)}))
add("anyOf product", wrap({"allOf": [{"anyOf": [{"minimum": i}, {"maximum": i}]} for i in range(12)]}))
add("anyOf product obj", wrap({"allOf": [{"anyOf": [obj(**{f"x{i}": {}}), obj(**{f"y{i}": {}})]} for i in range(8)]}))
add("anyOf nest", wrap(nest(200, lambda s: {"anyOf": [s, {"type": "null"}]}, {"type": "string"})))
add(
    "anyOf ref fan",
    {"$defs": {f"d{i}": {"anyOf": [ref(f"#/$defs/d{j}") for j in range(40)]} for i in range(40)}, "$ref": "#/$defs/d0"},
)
add(
    "allOf ref fan",
    {
        "$defs": {
            f"d{i}": {"allOf": [ref(f"#/$defs/d{j}") for j in range(i + 1, 20)], "properties": {f"p{i}": {}}}
            for i in range(20)
        },
        "$ref": "#/$defs/d0",
    },
)
add(
    "oneOf ref fan",
    {
        "$defs": {
            f"d{i}": {"oneOf": [ref(f"#/$defs/d{j}") for j in range(i + 1, 20)] or [{"type": "integer"}]}
            for i in range(20)
        },
        "$ref": "#/$defs/d0",
    },
)
add(
    "allOf recursion grow",
    {
        "$defs": {
            "a": {"type": "object", "properties": {"x": {"allOf": [ref("#/$defs/a"), ref("#/$defs/b")]}}},
            "b": {
                "type": "object",
                "properties": {"x": {"allOf": [ref("#/$defs/b"), ref("#/$defs/a"), {"title": "x"}]}},
            },
        },
        "$ref": "#/$defs/a",
    },
)
add(
    "allOf distinct growth",
    {
        "$defs": {
            f"d{i}": {
                "type": "object",
                "properties": {"x": {"allOf": [ref(f"#/$defs/d{j}") for j in range(30) if j != i]}},
            }
            for i in range(30)
        },
        "$ref": "#/$defs/d0",
    },
)
add(
    "allOf refs subsets",
    {
        "$defs": {
            f"d{i}": {
                "type": "object",
                "required": ["l", "r"],
                "properties": {
                    "l": {"allOf": [ref(f"#/$defs/d{i * 2 % 31}"), ref(f"#/$defs/d{(i * 3 + 1) % 31}")]},
                    "r": {"allOf": [ref(f"#/$defs/d{(i * 5 + 2) % 31}"), ref(f"#/$defs/d{i * 7 % 31}")]},
                },
            }
            for i in range(31)
        },
        "$ref": "#/$defs/d0",
    },
)
add("not nest", {"type": "object", "not": nest(300, lambda s: {"not": s}, {"type": "object"})})
add("not anyOf wide", {"type": "object", "not": {"anyOf": [{"required": [f"k{i}"]} for i in range(5000)]}})
add("if tree", nest(12, lambda s: {"if": {"required": ["a"]}, "then": s, "else": s}, {"type": "object"}))
add(
    "if tree ref",
    {**defs(14, lambda n: {"if": {"required": ["a"]}, "then": ref(n), "else": ref(n)}, {"type": "object"})},
)
add("types 100k", wrap({"type": ["string", "null"] * 50000}))
add("types allOf", wrap({"allOf": [{"type": ["string"] * 5000}, {"type": ["string"] * 5000}]}))
add("multipleOf tiny", obj(**{f"k{i}": {"type": "number", "multipleOf": 1e-300, "minimum": 1e300} for i in range(300)}))
add(
    "multipleOf odd",
    obj(
        **{
            f"k{i}": {"type": "number", "multipleOf": 0.1234567890123, "minimum": 1000000000000000.0}
            for i in range(1000)
        }
    ),
)
add("multipleOf huge", wrap({"type": "number", "multipleOf": 1e308, "minimum": 1.5e308}))
add(
    "multipleOf int unique",
    wrap(
        {
            "type": "array",
            "uniqueItems": True,
            "minItems": 900,
            "items": {"type": "integer", "multipleOf": 3, "minimum": 0, "maximum": 3000},
        }
    ),
)
add("numbers 5000", obj(**{f"k{i}": {"type": "number", "minimum": 1e308} for i in range(3000)}))
add(
    "min no multiple",
    obj(**{f"k{i}": {"type": "integer", "minimum": 2**63 + 2**54, "multipleOf": 12345677} for i in range(200)}),
)
add("huge minItems", wrap({"type": "array", "minItems": 1e300}))
add("huge minLength", wrap({"type": "string", "minLength": 10**18}))
for f in ("uri", "hostname", "email", "date-time", "duration", "ipv6", "time", "idn-email"):
    add("format " + f, wrap({"type": "string", "format": f, "minLength": 50000}))
add("formats many long", obj(**{f"k{i}": {"type": "string", "format": "uri", "minLength": 400} for i in range(200)}))
add(
    "format unique",
    wrap({"type": "array", "uniqueItems": True, "minItems": 4000, "items": {"type": "string", "format": "ipv4"}}),
)
add("format pattern", obj(**{f"k{i}": {"type": "string", "format": "uuid", "pattern": "^zz"} for i in range(300)}))
add("format enum", wrap({"enum": ["a." * 60000] * 3, "format": "hostname"}))
add("format enum email", wrap({"enum": ["a." * 100000 + "@b"], "format": "email"}))
add("format enum duration", wrap({"enum": ["P" + "1" * 500000], "format": "duration"}))
add("format enum uri", wrap({"enum": ["a" * 500000], "format": "uri"}))
add("format enum ipv6", wrap({"enum": [":".join(["1"] * 100000)], "format": "ipv6"}))
add("prefixItems 4900", wrap({"type": "array", "prefixItems": [{"type": "integer"}] * 4900, "minItems": 4900}))
add("prefixItems 100k", wrap({"type": "array", "prefixItems": [{}] * 100000}))
add(
    "prefixItems merge",
    wrap(
        {
            "allOf": [
                {"type": "array", "prefixItems": [{}] * 20000, "items": {"type": "integer"}},
                {"prefixItems": [{"minimum": 1}]},
            ]
            * 30
        }
    ),
)
add(
    "properties merge",
    {"allOf": [{"type": "object", "properties": {f"k{i}": {"minimum": j} for i in range(300)}} for j in range(100)]},
)
add(
    "patternProperties close",
    {
        "allOf": [
            {"type": "object", "patternProperties": {f"^{i}{j}": {} for i in range(50)}, "additionalProperties": False}
            for j in range(30)
        ]
    },
)
add("deep json", nest(200, lambda s: {"anyOf": [s]}, {"type": "string"}))
add("deep props", nest(300, lambda s: obj(a=s), {"type": "string"}))
add("long ref", {"$ref": "#/" + "a/" * 300000})
add(
    "many long refs",
    {
        "$defs": {"a" * 10000: {}},
        "type": "object",
        "properties": {f"k{i}": ref("#/$defs/" + "a" * 10000) for i in range(90)},
    },
)
add("many bad refs", {"anyOf": [ref("#/$defs/" + "a" * 500 + str(i)) for i in range(1500)]})
add(
    "ref chain 4000",
    {
        "$defs": {f"d{i}": ref(f"#/$defs/d{i + 1}") for i in range(4000)} | {"d4000": {"type": "integer"}},
        **wrap(ref("#/$defs/d0")),
    },
)
add(
    "ref chain rev",
    {"$defs": {f"d{i}": obj(x=ref(f"#/$defs/d{(i * 37 + 11) % 900}")) for i in range(900)}, "$ref": "#/$defs/d0"},
)
add("unevaluated", {"type": "object", "unevaluatedProperties": {"minLength": 90000}, "minProperties": 50})
add("big description", {"type": "object", "description": "x" * 900000})
add("over 1MB", {"type": "object", "description": "x" * 1100000})
add("examples", {"type": "object", "examples": [[1] * 10] * 20000})
add(
    "additionalProperties chain",
    nest(60, lambda s: {"type": "object", "minProperties": 2, "additionalProperties": s}, {"type": "integer"}),
)
add("error large", wrap({"allOf": [{"type": ["x" * 100000]}, {"type": ["y" * 100000]}]}))
add("key long", {"type": "object", "properties": {"k" * 500000: {"type": "strong"}}, "required": ["k" * 500000]})
add(
    "told apart",
    {
        "oneOf": [
            {
                "type": "object",
                "required": [f"k{i}" for i in range(500)],
                "properties": {f"k{i}": {"const": j} for i in range(500) if i > 400 and j != 3},
            }
            for j in range(60)
        ]
    },
)
add(
    "told apart deep",
    {
        "oneOf": [
            {"type": "object", "required": ["k"], "properties": {"k": {"const": ["x" * 100] * j}}} for j in range(300)
        ]
    },
)
add("checked many", obj(**{f"k{i}": {"type": "integer", "not": {"const": i}} for i in range(400)}))
add(
    "checked many fail",
    {"type": "object", "properties": {f"k{i}": {"type": "integer", "not": {"type": "integer"}} for i in range(400)}},
)
add(
    "checked nest",
    nest(
        20,
        lambda s: {"type": "object", "properties": {"a": s}, "required": ["a"], "not": {"required": ["b"]}},
        {"type": "integer"},
    ),
)
add("oneOf nest objects", nest(12, lambda s: {"oneOf": [obj(a=s), obj(a=s, b={"type": "null"})]}, {"type": "integer"}))
for word in ("anyOf", "oneOf", "allOf"):
    tree = defs(22, lambda to, word=word: {word: [ref(to), ref(to)]}, {"type": "integer"})
    add(f"not {word} tree", {"type": "object", "not": ref("#/$defs/d0"), "$defs": tree["$defs"]})
