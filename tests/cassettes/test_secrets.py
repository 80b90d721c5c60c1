"""Secrets in requests and answers are found wherever they are, and nothing else is taken for one."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.cassettes.named_values import _candidates, kind_of
from fastmock.cassettes.secrets import is_secret, mask, places_of_secrets, redact_fields, scrub, secrets_of
from tests.cassettes.support import CANARY, PLAIN, names, with_canary
from tests.support import examples

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "X-Api-Key", "api_key", "apiKey", "client_secret", "cookie", "set-cookie", "password"),
        *("openai-organization", "anthropic-organization-id", "OpenAI-Project", "access_token", "token", "key"),
    ],
)
def test_names_of_secrets(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", ["max_tokens", "prompt_cache_key_count", "tokens", "model", "x-request-id"])
def test_names_of_no_secrets(name):
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        (b'{"api_key":"a\\"b-c4n4ry"}', b'{"api_key":"[redacted]"}'),
        (b'{"a":"{\\"client_secret\\": \\"x\\\\\\"y-c4n4ry\\"}"}', b'{"a":"{\\"client_secret\\": \\"[redacted]\\"}"}'),
        (b"my key is sk-abcdefgh1jklmnop!", b"my key is [redacted]!"),
        (b"in organization org-abcdefgh1jklmnop on", b"in organization [redacted] on"),
        (b'{"hf_token":"Abcdefgh","a":1}', b'{"hf_token":"[redacted]","a":1}'),
        (
            b'{"credentials":{"type":"basic","pass":"Abcdefgh"}}',
            b'{"credentials":{"type":"basic","pass":"[redacted]"}}',
        ),
        (b'{"api_keys":["Abcdefgh","abcdefg1"]}', b'{"api_keys":["[redacted]","[redacted]"]}'),
        (b'{"password":123456}', b'{"password":"[redacted]"}'),
        (b'{"tools":[{"headers":{"X-Foo":"Abcdefgh"}}]}', b'{"tools":[{"headers":{"X-Foo":"[redacted]"}}]}'),
        (b'"see https://me:pw@host/x"', b'"see https://[redacted]@host/x"'),
        (b'"https://host/x?a=1&sig=abcdef%3D&b=2"', b'"https://host/x?a=1&sig=[redacted]&b=2"'),
        (b'"https://host/x?a=1\\u0026hf_token=abcdefg1"', b'"https://host/x?a=1\\u0026hf_token=[redacted]"'),
        (
            b'{"password":{"type":"string","default":"Abcdefgh"}}',
            b'{"password":{"type":"string","default":"[redacted]"}}',
        ),
    ],
)
def test_secrets_are_removed_from_texts(text, scrubbed):
    assert scrub(text) == scrubbed
    assert scrub(scrubbed) == scrubbed
    assert len(mask(text)) == len(text)
    assert mask(text) != text or b"123456" in text  # numbers stay in answers


@pytest.mark.parametrize(
    "text",
    [
        b'{"password":{"type":"string","description":"Your password."}}',
        b'{"properties":{"auth":{"type":"object","properties":{"x":{"type":"string"}},"required":["x"]}}}',
        b'{"token":" Hello","logprob":-1,"bytes":[32]}',
        b'{"token":"a1b2c3d4e5f6g7h8","logprob":-1}',
        b'{"type":"eq","key":"region","value":"us"}',
        b'{"author":"Jane","authority":"high","monkey":"Abu","project":"apollo","organization":"Acme"}',
        b'{"prompt_cache_key":"user-1234567890","max_tokens":5,"time_to_first_token":3}',
        b'{"arguments":"{\\"headers\\": {\\"X-Page\\": \\"two\\"}, \\"key\\": \\"ArrowDown\\"}"}',
        b'{"headers":{"content-type":"text/plain"}}',
        b"see http://localhost:8000/@me and https://host/x?page=2&sort=token",
        b'{"api_key":"[redacted]","password":"****","auth":{"type":"oauth"}}',
        b"a basic introduction, basic understanding, bearer authentication, token classification",
        b"from huggingface_hub import hf_hub_download; pk_customer_orders, org_administration, sk-learn-contrib, ak-47",
        b'{"next_page_token":"CAUQAA12345678","eos_token":"<|endoftext|>","first_token":"The"}',
        b'{"table":{"x":1},"headers":["Name","Age"]}',
        b"https://host/?key=a1&page=2",
    ],
)
def test_texts_without_secrets_stay(text):
    assert scrub(text) == text
    assert mask(text) == text
    assert not [*places_of_secrets(text)]


@given(with_canary(), st.booleans())
@examples(400)
def test_canaries_are_found_wherever_they_are_and_json_stays_json(value, indented):
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indented else 0)
    scrubbed, masked = scrub(text), mask(text)
    assert CANARY.encode() not in scrubbed
    assert CANARY.encode() not in masked
    assert len(masked) == len(text)
    orjson.loads(scrubbed), orjson.loads(masked)
    assert scrub(scrubbed) == scrubbed
    assert mask(masked) == masked
    assert [*places_of_secrets(text)]
    assert not [*places_of_secrets(scrubbed)]
    assert not [*places_of_secrets(masked, of_answer=True)]


@given(PLAIN)
@examples(100)
def test_scrubbed_json_stays_json_and_takes_nothing_twice(value):
    text = orjson.dumps({"api_key": value, "token": value, "headers": value})
    orjson.loads(scrub(text)), orjson.loads(mask(text))
    assert scrub(scrub(text)) == scrub(text)
    assert len(mask(text)) == len(text)


@given(names())
@examples(100)
def test_search_finds_each_name_that_is_taken_for_a_secret(name):
    assert kind_of(name) in ("secret", "ambiguous")
    assert [*_candidates(f'{{"{name}" : "{CANARY}"}}'.encode())]
    assert is_secret(name)


@given(st.text("abcdefghijkmnoprstuwy_-", min_size=1, max_size=20))
@examples(400)
def test_search_misses_no_name_that_is_taken_for_a_secret(name):
    assert kind_of(name) is None or [*_candidates(f'"{name}":"{CANARY}"'.encode())]


@pytest.mark.parametrize(
    ("headers", "query", "body"),
    [
        ([("x-vault-token", CANARY)], {}, b""),
        ([("authorization", f"Bearer {CANARY}")], {}, b""),
        ([("authorization", "Basic bWU6YzRuNHJ5LTdReDl3MlprTG0=")], {}, b""),
        ([], {"key": [CANARY]}, b""),
        ([], {}, f'{{"tools":[{{"authorization":"{CANARY}"}}]}}'.encode()),
    ],
)
def test_secrets_that_a_request_sends_are_found_where_else_they_are(headers, query, body):
    secrets = secrets_of(headers, query, body)
    assert scrub(f"the key {CANARY} is wrong".encode(), secrets) == b"the key [redacted] is wrong"


def test_fields_of_forms_are_redacted_by_their_names():
    assert redact_fields({"hf_token": ["a"], "x": ["b"]}) == {"hf_token": ["[redacted]"], "x": ["b"]}


@pytest.mark.parametrize(
    "text",
    [
        b'"api_key":[' * 20_000,
        b'"api_key":{"type":"object","properties":{' * 8_000,
        b'"api_key":"' * 20_000,
        b"\\" * 200_000 + b'"api_key":"x',
        b'"api_key' + b"\\" * 200_000,
        b'{"api_key":' + b" " * 200_000,
        b"https://" * 30_000,
        b"https://a:" * 30_000,
        b"?api_key" * 30_000 + b"=",
        b'"' * 200_000,
        b'"auth' * 50_000,
    ],
)
def test_time_is_linear_for_any_text(text):
    scrub(text)  # with quadratic time this would take minutes
    assert len(mask(text)) == len(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"pass":"yes","cookies":["chocolate chip"],"credentials":"MD, PhD","auth":"oauth2"}',
        b'{"secret":"She is his mother"}',
        b'{"authorization":"required","session_key":"keynote","password":12345678,"mountain_pass":"Khyber"}',
        b"https://host/?project=alpha&pass=yes",
    ],
)
def test_words_in_answers_stay_although_their_fields_are_named_like_credentials(text):
    assert mask(text) == text
    assert not [*places_of_secrets(text, of_answer=True)]


@pytest.mark.parametrize(
    "secret",
    [
        *("ghs_16C7e42F292c6912E7710c838347Ae178B4a", "glpat-Ab1Cd2Ef3Gh4Ij5Kl6", "xoxb-123456789012-abcdefABCDEF"),
        *(
            "npm_aB1cD2eF3gH4iJ5kL6",
            "whsec_aB1cD2eF3gH4iJ5kL6",
            "SG.aB1cD2eF3gH4iJ.aB1cD2eF3gH4iJ5kL6",
            "hvs.CAESIaB1cD2eF",
        ),
        *(
            "ya29.a0AfH6SMBaB1cD2eF3",
            "r8_aB1cD2eF3gH4iJ5kL6mN7",
            "Basic dXNlcjpwYXNzd29yZA==",
            "Token 9944b09199c62bcf9418",
        ),
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7aB1cD2eF3gH4iJ5kL6mN7oP8\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_secrets_are_known_by_their_form(secret):
    text = orjson.dumps({"content": f"use {secret} here"})
    for hidden in (scrub(text), mask(text)):
        assert secret.rpartition(" ")[2][:20].encode() not in hidden
        orjson.loads(hidden)


@pytest.mark.parametrize(
    "name",
    ["password1", "password_confirmation", "secretValue", "api_key_2", "bearer", "github_pat", "dsn", "access_key_id"],
)
def test_names_with_endings_are_those_of_secrets(name):
    assert b"[redacted]" in scrub(orjson.dumps({name: "x"}))


def test_values_that_may_be_no_secrets_differ_from_others_in_requests():
    texts = [scrub(b'{"key":"invoice_2024_00%d"}' % number) for number in range(2)]
    assert texts[0] != texts[1]
    assert b"invoice" not in b"".join(texts)
    assert scrub(texts[0]) == texts[0]


def test_short_secrets_of_a_request_are_found_where_the_answer_repeats_them():
    secrets = secrets_of([], {}, b'{"password":"CorrectHorseBattery","api_key":"s3cr3tK1","secret":"word"}')
    assert (
        mask(b"password CorrectHorseBattery, key s3cr3tK1, word", secrets)
        == b"password *******************, key ********, word"
    )
