"""The index picks the rule that a loop over all rules would."""

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastmock.core.completion import ChatRequest
from fastmock.rules.index import DEFAULT, Index, LayeredIndex, index_of
from fastmock.rules.match import Match
from fastmock.rules.regex import PatternError, RegexSet, readable, to_re2
from fastmock.rules.shadowed import hidden
from tests.support import examples

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("patient")]


def chat(model: str, message: str, system: str) -> ChatRequest:
    made = ChatRequest("0" * 32, {}, model)
    made.user_message, made.system_prompt = message, system
    return made


def naive(rules: list[Match], asked: ChatRequest) -> int:
    for number, rule in enumerate(rules):
        if rule.model is not None and not fnmatchcase(asked.model, rule.model):
            continue
        if rule.content is not None and asked.user_message != rule.content:
            continue
        if rule.content_contains is not None and rule.content_contains not in asked.user_message:
            continue
        if rule.content_regex is not None and not re.search(rule.content_regex, asked.user_message):
            continue
        if rule.system_prompt is not None and rule.system_prompt not in asked.system_prompt:
            continue
        return number
    return DEFAULT


WORDS = st.text(st.sampled_from("ab \n.$é世"), max_size=6)
REGEXES = st.sampled_from(
    [
        "a",
        "^a",
        "b$",
        "a.b",
        ".*a",
        "(?i)A+b?",
        "[$]",
        "[^a]$",
        "a|b$",
        r"\$$",
        "(?m)^b$",
        "(?=a)a",
        r"(a)\1",
        r"a\Z",
        "世",
    ]
)
RULES = st.lists(
    st.builds(
        Match,
        model=st.none() | st.sampled_from(["a", "a*", "?b", "*", "[ab]"]),
        content=st.none() | st.none() | WORDS,
        content_contains=st.none() | WORDS,
        content_regex=st.none() | REGEXES,
        system_prompt=st.none() | WORDS,
    ),
    max_size=8,
)


@examples(60)
@given(RULES, st.sampled_from(["a", "b", "ab", "bb", ""]), WORDS, WORDS)
@example([Match(content_regex="b$")], "a", "b\n", "")
def test_index_picks_the_rule_of_a_linear_scan(rules, model, message, system):
    asked = chat(model, message, system)
    index = Index(rules)
    assert index.pick(asked) == naive(rules, asked)
    assert index.pick(asked) == naive(rules, asked)  # again, from what was remembered
    assert naive(rules, asked) not in {number for number, _ in hidden(rules)}


@examples(60)
@given(RULES, st.lists(RULES, max_size=4), st.randoms(use_true_random=False), st.sampled_from(["a", "ab", ""]), WORDS)
def test_index_updated_by_changes_picks_the_rule_of_a_linear_scan(rules, changes, random, model, message):
    index = index_of(rules)
    asked = chat(model, message, "")
    removed: list[Match] = []
    for added in changes:
        rules, before = [rule for rule in rules if random.random() < 0.8], rules
        returning = [rule for rule in removed if random.random() < 0.5]
        removed = [rule for rule in (*removed, *before) if rule not in returning and rule not in rules]
        for rule in (*added, *returning):
            rules.insert(random.randrange(len(rules) + 1), rule)
        if random.random() < 0.1:
            random.shuffle(rules)
        index = index_of(rules, previous=index)
        assert index.pick(asked) == naive(rules, asked)


def test_index_change_of_one_rule_recompiles_no_other():
    rules = [Match(content_contains=f"a{number:02}") for number in range(100)]
    index = index_of(rules)
    more = index_of([Match(content="a99"), *rules[:50], *rules[51:]], previous=index)
    assert isinstance(more, LayeredIndex)
    assert [len(layer.rules) for layer, _ in more.layers] == [100, 1]
    assert [more.pick(chat("m", text, "")) for text in ("a99", "xa00", "xa50", "xa99")] == [0, 1, DEFAULT, 99]
    assert index.pick(chat("m", "xa50", "")) == 50
    assert index_of(rules, previous=more).pick(chat("m", "xa50", "")) == 50


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ([Match(), Match(content="a")], [(1, 0)]),
        ([Match(model="gpt*"), Match(model="gpt-4*"), Match(model="gpt-4")], [(2, 0)]),
        ([Match(content_contains="a"), Match(content="xax"), Match(content_contains="bab")], [(1, 0), (2, 0)]),
        ([Match(content_regex="^x"), Match(content="xa"), Match(content="ax")], [(1, 0)]),
        ([Match(content="a", content_contains="b"), Match(content="a", content_regex="^b")], [(0, 0), (1, 1)]),
        ([Match(system_prompt="help"), Match(system_prompt="helpful", model="m")], [(1, 0)]),
        ([Match(content_regex="(?=a)a"), Match(content="a")], []),  # only "re" could tell
    ],
)
def test_shadowed_rules_are_found(rules, found):
    assert list(hidden(rules)) == found


def test_index_of_1000_regexes_picks_the_right_one():
    index = Index([Match(content_regex=f"topic{i} .*word{i}$") for i in range(1000)])
    assert index.pick(chat("m", "topic777 and word777", "")) == 777
    assert index.pick(chat("m", "topic777 and word778", "")) == DEFAULT


def test_regex_with_nested_quantifiers_runs_in_linear_time():
    assert Index([Match(content_regex="(a+)+$")]).pick(chat("m", "a" * 5000 + "b", "")) == DEFAULT


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "a{2,1}", "(?P<x"])
def test_regex_with_a_syntax_error_is_rejected(pattern):
    with pytest.raises(PatternError):
        readable(pattern)


def test_regex_unsupported_by_re2_falls_back_to_re():
    assert readable("(?!a)b")[1] is not None
    assert readable("a+b")[1] is None
    assert to_re2(r"[$\]$]$") == r"[$\]$](?:\n?\z)"


def test_regex_set_out_of_memory_falls_back_to_single_patterns(monkeypatch):
    assert RegexSet(["a", "b", "a.*c"]).one_by_one(b"a c") == [0, 2]
    monkeypatch.setattr(
        RegexSet, "match", property(lambda self: lambda text: None, lambda self, value: None), raising=False
    )
    index = Index([Match(content_regex="b"), Match(content_regex="a")])
    assert index.pick(chat("m", "xay", "")) == 1
