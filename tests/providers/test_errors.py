"""Failures are data: every provider has an error for each."""

import dataclasses
import re
from pathlib import Path

import pytest

from fastmock.core import errors
from fastmock.providers import PROVIDERS
from fastmock.providers.anthropic.provider import ANTHROPIC
from fastmock.providers.openai.errors import words
from fastmock.providers.openai.provider import OPENAI

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2] / "fastmock"
FAILURES = errors.Failure.__subclasses__()
SAMPLES = {
    "str": "sample",
    "int": 7,
    "float": 7.0,
    "str | None": "sample",
    "typing.Any": 7,
    "tuple[str, ...]": ("gzip",),
    "tuple[str | int, ...] | None": ("items", 0),
}


def sample(field):
    return SAMPLES[field.type.__name__ if type(field.type) is type else str(field.type)]


def example(kind):
    given = {field.name: sample(field) for field in dataclasses.fields(kind)}
    return kind(**given | ({"status": 418} if kind is errors.StatusFailure else {}))


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_failures_have_a_complete_error_with_every_provider(kind, provider):
    worded = provider.words(example(kind).replace(rule="r", check="c"))
    assert not isinstance(worded, errors.Failure)
    assert 400 <= worded.status < 600
    assert worded.message
    assert worded.kind
    assert (worded.rule, worded.check) == ("r", "c")
    assert provider.envelope(worded, "req_1").startswith(b"{")


def test_failures_all_have_an_openai_error():
    assert set(FAILURES) <= set(words.registry)


def test_error_overrides_of_a_fault_precede_the_provider_defaults():
    given = errors.Overloaded().replace(overrides={"message": "Busy", "code": "mine"})
    assert [(one.words(given).status, one.words(given).message) for one in (OPENAI, ANTHROPIC)] == [
        (503, "Busy"),
        (529, "Busy"),
    ]


def test_error_parameter_renamed_is_renamed_in_the_message():
    renamed = errors.WrongType("messages[0].content", "a string", 7).rename_param(
        lambda path: path.replace("messages", "input")
    )
    assert OPENAI.words(renamed).param == "input[0].content"
    assert "'input[0].content'" in OPENAI.words(renamed).message


def test_modules_do_not_parse_error_messages():
    pattern = re.compile(r"re\.\w+\([^)]*\bmessage\b|\.message\.(?:partition|split|find|replace)")
    assert not [path for path in ROOT.rglob("*.py") if pattern.search(path.read_text())]
