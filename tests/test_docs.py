"""The examples in the documentation work."""

import re

import orjson
import pytest
import yaml

from fastmock.build import build
from fastmock.config.load import load
from fastmock.core.http import Request
from tests.support import KEY, ROOT

pytestmark = pytest.mark.unit


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)


PAGES = [str(page.relative_to(ROOT)) for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))]
PROGRAMS = ("README.md", "docs/sdks.md", "docs/testing.md")


def test_docs_configurations_are_valid():
    shown = [(page, yaml.safe_load(text)) for page in PAGES for text in blocks(page, "(?:json|yaml)")]
    assert len(shown) >= 20
    for page, settings in shown:
        assert load(settings, {}, {}, ROOT)[1] == [], page


def test_docs_client_programs_are_shown_verbatim():
    shown = [text for page in PROGRAMS for text in blocks(page, "(?:python|js)")]
    programs = [program.read_text() for program in (ROOT / "docs/clients").glob("*.*")]
    assert len(programs) >= 4
    assert sorted(shown) == sorted(programs)


def test_docs_response_manager_works():
    code = next(text for text in blocks("docs/responses.md", "python") if "class Mine" in text)
    names = {}
    exec(code, names)
    config, _ = load({}, {}, {})
    app = build(config, names["Mine"]())
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    vip = app.handle(Request("POST", "/v1/chat/completions", KEY, orjson.dumps(body | {"user": "vip"})))
    assert b"Welcome back!" in vip.body
    assert b"canned answer" in app.handle(Request("POST", "/v1/chat/completions", KEY, orjson.dumps(body))).body


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "benchmarks/README.md"])
def test_docs_links_resolve(page):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target


def headings(page):
    """Return the anchors of a page, as GitHub and MkDocs make them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    plain = (re.sub(r"[^\w\- ]", "", title.strip().lower()) for title in re.findall(r"^#+ (.+)$", text, re.M))
    return {title.replace(" ", "-") for title in plain}


def test_docs_link_anchors_are_headings():
    pages = [ROOT / page for page in (*PAGES, "CONTRIBUTING.md", "benchmarks/README.md")]
    broken = []
    for page in pages:
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)]+)\)", page.read_text()):
            aim = (page.parent / target).resolve() if target else page
            if aim.suffix == ".md" and anchor not in headings(aim):
                broken.append(f"{page.name}: {target}#{anchor}")
    assert not broken
