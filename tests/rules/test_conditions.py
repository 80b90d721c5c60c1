"""Conditions of rules, how they combine, and how a miss is explained."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.config.load import load
from fastmock.core.completion import ChatRequest, OutputConstraints, Tool
from fastmock.core.http import Request
from fastmock.rules.explain import Explainer
from fastmock.rules.index import DEFAULT, Index
from fastmock.rules.match import CONDITIONS, Match
from fastmock.rules.shadowed import hidden
from tests.providers.openai.test_chat import HELLO, PATH, rules
from tests.providers.openai.test_tools import SEARCH, WEATHER, results
from tests.support import examples, make_app

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("patient")]


ASSISTANT = {"role": "assistant", "content": "Hi"}
USER = {"role": "user", "content": "Hello"}


def test_conditions_are_declared_by_every_field_of_a_match():
    assert {*CONDITIONS, "any_", "all_", "not_"} == set(Match.model_fields)


def answered(call, match, body, headers=None, path=PATH):
    """Whether a rule with this match answers."""
    section = "chat_completions" if path == PATH else "completions"
    post = call(
        {"responses": {section: {"patterns": [{"match": match, "content": "yes"}], "default": {"content": "no"}}}}
    )
    reply = post(path, body, headers={"authorization": "Bearer x", **(headers or {})})
    assert reply.head.status == 200, reply.body
    return b'"yes"' in reply.body


@pytest.mark.parametrize(
    ("match", "body", "holds"),
    [
        ({"turn": 1}, HELLO, True),
        ({"turn": 2}, HELLO, False),
        ({"turn": 2}, HELLO | {"messages": [USER, ASSISTANT, USER]}, True),
        ({"turn": {"min": 2}}, HELLO | {"messages": [USER, ASSISTANT, USER, ASSISTANT, USER]}, True),
        ({"turn": {"max": 2}}, HELLO | {"messages": [USER, ASSISTANT, USER, ASSISTANT, USER]}, False),
        ({"messages": 1}, HELLO, True),
        ({"messages": {"min": 2, "max": 3}}, HELLO | {"messages": [USER, ASSISTANT, USER]}, True),
        ({"last_role": "user"}, HELLO, True),
        ({"last_role": "tool"}, HELLO | {"messages": results("f")}, True),
        ({"tool_result": True}, HELLO | {"messages": results("f")}, True),
        ({"tool_result": True}, HELLO | {"messages": [*results("f"), ASSISTANT, USER]}, False),
        ({"tool_result": False}, HELLO, True),
        ({"tool_result": "get_*"}, HELLO | {"messages": results("f", "get_weather")}, True),
        ({"tool_result": "g"}, HELLO | {"messages": results("f", before=results("g")[1:])}, False),
        ({"tool_result": "f"}, HELLO | {"messages": [USER, {"role": "function", "name": "f", "content": "1"}]}, True),
        ({"tool": "search"}, HELLO | {"tools": [WEATHER, SEARCH]}, True),
        ({"tool": "get_*"}, HELLO | {"tools": [SEARCH]}, False),
        ({"tool": "f"}, HELLO | {"functions": [{"name": "f"}]}, True),
        ({"tool": False}, HELLO, True),
        ({"tool": True}, HELLO, False),
        ({"stream": False}, HELLO, True),
        ({"stream": True}, HELLO, False),
        ({"endpoint": "chat_completions"}, HELLO, True),
        ({"endpoint": "completions"}, HELLO, False),
        ({"response_format": "text"}, HELLO, True),
        ({"response_format": "json_schema"}, HELLO, False),
        ({"user": "vip-*"}, HELLO | {"user": "vip-7"}, True),
        ({"user": "vip-*"}, HELLO, False),
        ({"metadata": {"test": "a*", "run": "1"}}, HELLO | {"metadata": {"test": "abc", "run": "1"}}, True),
        ({"metadata": {"test": "*"}}, HELLO, False),
        ({"headers": {"X-Test": "a*"}}, HELLO, True),
        ({"headers": {"x-test": "b"}}, HELLO, False),
        ({"headers": {"x-none": "*"}}, HELLO, False),
        ({"any": [{"turn": 2}, {"last_role": "user"}]}, HELLO, True),
        ({"any": [{"turn": 2}, {"last_role": "tool"}]}, HELLO, False),
        ({"all": [{"turn": 1}, {"content_contains": "ell"}]}, HELLO, True),
        ({"all": [{"turn": 1}, {"content_regex": "^x"}]}, HELLO, False),
        ({"not": {"turn": 2}}, HELLO, True),
        ({"not": {"turn": 1, "content": "Hello"}}, HELLO, False),
        ({"not": {"any": [{"content_regex": "(?=x)x"}, {"not": {"model": "gpt-*"}}]}}, HELLO, True),
        ({"model": "gpt-*", "any": [{"content_regex": "(?=H)Hello"}], "not": {"system_prompt": "a"}}, HELLO, True),
    ],
)
def test_match_condition_holds_or_not(call, match, body, holds):
    assert answered(call, match, body, {"x-test": "abc"}) is holds


def test_match_conditions_work_on_legacy_completions(call):
    body = {"model": "m", "prompt": "x", "user": "u"}
    assert answered(call, {"endpoint": "completions", "turn": 1, "user": "u"}, body, path="/v1/completions")


def test_responses_of_a_rule_follow_the_turn(call):
    post = call(rules({"match": {"content": "Hello"}, "responses": ["one", {"content": "two $model"}, "three"]}))
    said = []
    messages = [USER]
    for _ in range(4):
        said.append(orjson.loads(post(PATH, HELLO | {"messages": messages}).body)["choices"][0]["message"]["content"])
        messages = [*messages, ASSISTANT, USER]
    assert said == ["one", "two gpt-4o", "three", "three"]


ATOMS = st.sampled_from(
    [
        {"turn": 1},
        {"turn": {"min": 2}},
        {"content": "a"},
        {"content_contains": "b"},
        {"content_regex": "(?=a)a"},
        {"content_regex": "b$", "turn": 1},
        {"model": "m*"},
        {"stream": True},
        {"user": "u"},
        {"tool": True},
        {"tool": "f*"},
        {},
    ]
)


def combined(atom, any_, all_, excluded):
    more = {"any": any_, "all": all_} | ({} if excluded is None else {"not": excluded})
    return atom | {name: inner for name, inner in more.items() if inner != []}


MATCHES = st.recursive(
    ATOMS,
    lambda inner: st.builds(
        combined, ATOMS, st.lists(inner, max_size=2), st.lists(inner, max_size=2), st.none() | inner
    ),
    max_leaves=6,
)


class Turned(ChatRequest):
    turn = 1


def naive(match, chat):
    text = chat.user_message
    plain = {
        "turn": lambda span: (
            (span.min is None or chat.turn >= span.min) and (span.max is None or chat.turn <= span.max)
        ),
        "content": lambda wanted: text == wanted,
        "content_contains": lambda wanted: wanted in text,
        "content_regex": lambda wanted: __import__("re").search(wanted, text) is not None,
        "model": lambda wanted: chat.model.startswith(wanted[:-1]),
        "stream": lambda wanted: chat.stream is wanted,
        "user": lambda wanted: chat.user == wanted,
        "tool": lambda wanted: bool(chat.tool_names) is (wanted is not False),  # it begins with "f"
    }
    for name, holds in plain.items():
        wanted = getattr(match, name)
        if wanted is not None and not holds(wanted):
            return False
    if match.any_ and not any(naive(one, chat) for one in match.any_):
        return False
    if not all(naive(one, chat) for one in match.all_ or ()):
        return False
    return match.not_ is None or not naive(match.not_, chat)


@examples(50)
@given(
    st.lists(MATCHES, max_size=5),
    st.sampled_from(["a", "b", "ab", "x"]),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["u", "v"]),
)
def test_index_of_nested_conditions_picks_the_rule_of_a_linear_scan(raw, text, turn, stream, tools, user):
    matches = [Match.model_validate(one) for one in raw]
    chat = Turned("0" * 32, {"user": user}, "model")
    chat.turn, chat.user_message, chat.stream = turn, text, stream
    chat.add_details().constraints = OutputConstraints(tools=[Tool("find", {})]) if tools else None
    index = Index(matches)
    expected = next((number for number, match in enumerate(matches) if naive(match, chat)), DEFAULT)
    assert index.pick(chat) == index.pick(chat) == expected
    assert expected not in {number for number, _ in hidden(matches)}
    verdict = Explainer(index, matches, [*map(str, range(len(matches))), "default"]).explain(chat)
    assert verdict.winner == ("default" if expected == DEFAULT else str(expected))
    if verdict.nearest is None:
        assert all(naive(match, chat) for match in matches)
    else:
        assert not naive(matches[int(verdict.nearest)], chat)
        assert verdict.differences


SUNNY = {"model": "gpt-*", "content_contains": "weather", "turn": {"max": 3}}
OTHER = {"model": "claude-*", "content_regex": "^x", "headers": {"x-a": "b"}}
EXPLAINED = rules(
    {"name": "ping", "match": {"content": "ping"}, "content": "pong"},
    {"name": "weather", "match": SUNNY, "content": "sunny"},
    {"name": "other", "match": OTHER, "content": "x"},
    server={"control_headers": True},
)
MISS = "chat_completions.default; nearest"


@pytest.mark.parametrize(
    ("model", "message", "headers", "expected"),
    [
        ("gpt-4o", "Hello", {}, f"{MISS} weather: content 'Hello' does not contain 'weather'"),
        ("x", "pin", {}, f"{MISS} ping: content is 'pin', not 'ping'"),
        ("claude-1", "xyz", {"x-a": "c"}, f"{MISS} other: headers: x-a is 'c', not 'b'"),
        ("gpt-4o", "weather", {}, "weather; nearest ping: content is 'weather', not 'ping'"),
        ("m", "\n世", {}, f"{MISS} ping: content is '\\n\\u4e16', not 'ping'"),
    ],
)
def test_rule_header_explains_the_nearest_miss(call, model, message, headers, expected):
    body = {"model": model, "messages": [{"role": "user", "content": message}]}
    reply = call(EXPLAINED)(PATH, body, headers={"authorization": "Bearer x", **headers})
    assert reply.more == (("x-fastmock-rule", expected),)
    silent = call(rules({"match": {}, "content": "x"}))(PATH, body)
    assert silent.more == ()


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ({"turn": {"min": 3, "max": 1}}, "'min' <= 'max'"),
        ({"turn": {}}, "needs 'min' or 'max'"),
        ({"last_role": "tol"}, "did you mean 'tool'"),
        ({"any": [{"contnt": "x"}]}, "did you mean 'content'"),
        ({"not": {"content_regex": "("}}, "not a regular expression"),
        ({"any": []}, "at least 1 item"),
        ({"no": {}}, "did you mean 'not'"),
    ],
)
def test_match_condition_with_an_error_is_rejected(match, message):
    from fastmock.build import build
    from fastmock.core.problems import ConfigError

    config, problems = load(rules({"match": match, "content": "x"}), {}, {})
    if not problems:
        with pytest.raises(ConfigError) as caught:
            build(config)
        problems = caught.value.problems
    shown = "\n".join(map(str, problems))
    assert message in shown
    assert "patterns[0].match" in shown


def test_rule_header_names_only_differences_and_no_credentials(call):
    match = {"headers": {"x-team": "a*", "authorization": "Bearer sk-b*"}, "metadata": {"run": "n*", "k": "v"}}
    post = call(rules({"name": "r", "match": match, "content": "x"}, server={"control_headers": True}))
    body = HELLO | {"metadata": {"run": "nightly"}}
    [(_, said)] = post(PATH, body, headers={"authorization": "Bearer sk-secret", "x-team": "alpha"}).more
    expected = "headers: authorization is [redacted], not [redacted]; metadata: k is None, not 'v'"
    assert said == f"{MISS} r: {expected}"


def test_rule_header_finds_the_nearest_of_1000_rules():
    many = [{"name": f"r{n}", "match": {"content_regex": f"topic {n}$"}, "content": "x"} for n in range(1000)]
    many.append({"name": "nearer", "match": {"model": "gpt-*", "content": "topic 1001"}, "content": "x"})
    app = make_app(rules(*many, server={"control_headers": True}))
    chat = HELLO | {"messages": [{"role": "user", "content": "topic 1000"}]}
    answer = app.handle(Request("POST", PATH, {"authorization": "Bearer x"}, orjson.dumps(chat)))
    assert answer.more[0][1].startswith(f"{MISS} nearer: content is 'topic 1000', not 'topic 1001'")
