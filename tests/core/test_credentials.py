"""Credentials: their headers and parameters, and the session in an API key."""

import orjson
import pytest

from fastmock.build import build
from fastmock.cli.check import listing
from fastmock.config.load import load
from fastmock.config.overlay import Overlay
from fastmock.control.redact import settings_shown
from fastmock.control.verify import expectation
from fastmock.core.credentials import is_credential, session_of, without_session
from fastmock.core.errors import ApiError
from fastmock.core.http import Request
from fastmock.shared.ring_buffer import RingBuffer
from fastmock.telemetry.journal import HEAD_SIZE, Journal
from fastmock.telemetry.observer import observe
from tests.support import KEY

pytestmark = pytest.mark.unit

CHAT = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]})
BY_FORM = ["x-litellm-api-key", "Helicone-Auth", "cf-aig-authorization", "x-portkey-api-key", "x-vault-token"]
BY_FORM += ["x-goog-iam-authorization-token", "set-cookie", "apikey", "x-client-secret"]


@pytest.mark.parametrize(
    ("sent", "session"),
    [
        ("checkout:sk-test", "checkout"),
        ("a-b_c.9:sk-test", "a-b_c.9"),
        ("a" * 64 + ":sk-test", "a" * 64),
        ("a" * 65 + ":sk-test", ""),
        ("sk-real-key:project", ""),
        ("SK-real-key:project", ""),
        ("two words:sk-test", ""),
        ("caf\u00e9:sk-test", ""),
        ("checkout\n:sk-test", ""),
        (":sk-test", ""),
        ("checkout:", ""),
        ("sk-test", ""),
    ],
)
def test_session_prefix_of_a_key_must_be_well_formed(sent, session):
    assert session_of({"authorization": f"Bearer {sent}"}) == session
    assert session_of({"x-api-key": sent}) == session
    assert without_session(sent) == ("sk-test" if session else sent)


def test_auth_key_with_a_colon_is_accepted_whole():
    config, _ = load({"auth": {"mode": "keys", "keys": ["sk-real:project"]}}, {}, {})
    app = build(config)
    for key, status in (("sk-real:project", 200), ("project", 401), ("one:sk-real:project", 200)):
        request = Request("POST", "/v1/chat/completions", {"authorization": f"Bearer {key}"}, CHAT)
        assert app.handle(request).head.status == status, key


@pytest.mark.parametrize("name", BY_FORM)
def test_credential_header_is_redacted_everywhere(name):
    assert is_credential(name)
    match = {"headers": {name: "SECRET"}}
    config = {"responses": {"chat_completions": {"patterns": [{"match": match, "content": "x"}]}}}
    loaded, problems = load(config, {}, {})
    assert problems == []
    assert "SECRET" not in orjson.dumps(settings_shown(loaded.settings)).decode()
    app = build(loaded)
    journal = Journal(RingBuffer(10, HEAD_SIZE), app.kind_of)
    app = observe(app, [journal])
    app.handle(Request("POST", "/v1/chat/completions", KEY | {name.lower(): "other SECRET"}, CHAT))
    [record] = journal.records(journal.ring_buffer.numbers())
    assert record.head["headers"][name.lower()] == "[redacted]"
    assert "SECRET" not in str(record.shown())
    assert "SECRET" not in str(app.readings.explain(CHAT, {name.lower(): "other SECRET"}))
    wrong = {"responses": {"chat_completions": {"patterns": [{"match": {"headers": {name: ["SECRET"]}}}]}}}
    _, problems = load({}, {}, {}, overlay=Overlay().patching(wrong))
    assert problems
    assert "SECRET" not in str(problems)


@pytest.mark.parametrize("name", ["x-fastmock-key", "idempotency-key", "user-agent", "x-tokens-left", "x-user"])
def test_ordinary_header_is_not_treated_as_a_credential(name):
    assert not is_credential(name)


def test_config_section_named_auth_is_shown():
    config, _ = load({"auth": {"mode": "keys", "keys": ["sk-SECRET"]}}, {}, {})
    shown = settings_shown(config.settings)
    assert shown["auth"] == {"mode": "keys", "keys": ["[redacted]"], "open_models": False}


@pytest.mark.parametrize("name", BY_FORM)
def test_verify_by_a_credential_header_is_rejected(name):
    with pytest.raises(ApiError, match="is a credential"):
        expectation({"match": {"headers": {name: "*"}}}, [])


def test_check_command_redacts_credentials():
    match = {"headers": {"X-Vault-Token": "SECRET"}}
    config = {"responses": {"chat_completions": {"patterns": [{"match": match, "content": "x"}]}}}
    lines = "\n".join(listing(build(load(config, {}, {})[0])))
    assert "X-Vault-Token" in lines
    assert "SECRET" not in lines
