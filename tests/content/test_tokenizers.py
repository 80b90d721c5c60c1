"""Tokenizers: exact counts, the estimate, huge texts."""

import sys
import time

import pytest

from fastmock.build import build
from fastmock.config.load import load
from fastmock.content.tokenizers import ESTIMATE, exact
from fastmock.core.problems import ConfigError

pytestmark = pytest.mark.unit


# The counts of OpenAI's cookbook, "How to count tokens with tiktoken", for cl100k_base and o200k_base.
GOLDEN = [
    ("antidisestablishmentarianism", 6, 6),
    ("2 + 2 = 4", 7, 7),
    ("お誕生日おめでとう", 9, 8),
    ("tiktoken is great!", 6, 6),
    ("", 0, 0),
]


@pytest.mark.parametrize(("text", "older", "newer"), GOLDEN)
def test_tokenizer_counts_equal_the_openai_cookbook(text, older, newer):
    of = exact()
    assert (of("gpt-4").count(text), of("gpt-4o").count(text)) == (older, newer)
    for model in ("gpt-4", "gpt-4o"):
        tokens = of(model).tokens(text)
        assert b"".join(tokens).decode() == text
        assert len(tokens) == of(model).count(text) == of(model).count_all([text])


@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("gpt-4", "gpt-4"), ("gpt-4-turbo-2024-04-09", "gpt-4"), ("gpt-3.5-turbo", "gpt-4"), ("gpt-35-turbo", "gpt-4"),
        ("text-embedding-3-small", "gpt-4"), ("text-embedding-ada-002", "gpt-4"), ("ft:gpt-3.5-turbo:a:b:c", "gpt-4"),
        ("gpt-4o-mini", "gpt-4o"), ("gpt-4.1", "gpt-4o"), ("gpt-4.5-preview", "gpt-4o"), ("gpt-5", "gpt-4o"),
        ("o3", "gpt-4o"), ("o4-mini", "gpt-4o"), ("chatgpt-4o-latest", "gpt-4o"), ("ft:gpt-4o:a", "gpt-4o"),
        ("llama", "gpt-4o"),
    ],
)  # fmt: skip
def test_tokenizer_vocabulary_depends_on_the_model(model, like):
    assert exact()(model) is exact()(like)


def test_tokenizer_estimate_agrees_with_its_pieces():
    for text, *_ in GOLDEN:
        assert len(ESTIMATE.tokens(text)) == ESTIMATE.count(text) == ESTIMATE.count_all([text])


def test_tokenizer_exact_without_its_extra_is_a_config_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "splintr", None)
    config, _ = load({"usage": {"tokenizer": "exact"}}, {}, {})
    with pytest.raises(ConfigError) as caught:
        build(config)
    assert "fastmock[tokens]" in str(caught.value.problems[0])
    assert build(load({}, {}, {})[0]).warnings == []  # "auto" estimates then


def test_huge_texts_are_counted_in_part_and_estimated():
    tokenizer = exact()("gpt-4o")
    text = "hello world " * 100_000
    start = time.thread_time()
    assert tokenizer.count(text) == pytest.approx(200_000, rel=0.01)
    assert tokenizer.count("a" * 30_000_000) == 7_500_000
    assert len(tokenizer.tokens("a" * 3_000_000)) == 750_000
    assert b"".join(tokenizer.tokens(text)) == text.encode()
    assert time.thread_time() - start < 5
    mixed = f"Hello there, {'x' * 1000} and goodbye."  # the words around a long one are counted exactly
    assert tokenizer.count(mixed) == tokenizer.count("Hello there, ") + 250 + tokenizer.count(" and goodbye.")
