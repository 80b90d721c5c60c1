"""The documentation site builds without a warning, and its search finds the standard terms."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.support import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

TERMS = (
    "audio input",
    "chaos",
    "deterministic",
    "fault injection",
    "fixture",
    "function calling",
    "hot reload",
    "jitter",
    "JSON mode",
    "logprobs",
    "non-streaming",
    "OPENAI_BASE_URL",
    "pytest",
    "rate limiting",
    "streaming",
    "structured outputs",
    "throughput",
    "token bucket",
    "vision",
    "wildcard",
)

unit = pytest.mark.unit
integration = pytest.mark.integration


def prose(page):
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)


def headings_and_first_lines():
    """Return the headings of all pages, and the first paragraph line below each page's title."""
    for page in PAGES:
        lines = [line for line in prose(page).splitlines() if line.strip()]
        yield from (line for line in lines if line.startswith("#"))
        yield next(line for line in lines if not line.startswith("#"))


@unit
@pytest.mark.parametrize("term", TERMS)
def test_term_stands_in_a_heading_or_first_line(term):
    found = [line for line in headings_and_first_lines() if term.lower() in line.lower()]
    assert found


@unit
def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


@unit
def test_prose_names_things_instead_of_asking_for_them():
    words = re.findall(r"[\w'-]+", " ".join(page.read_text() for page in PAGES).lower())
    assert words.count("what") <= 2 * len(words) / 1000


@unit
def test_every_page_of_the_docs_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [page.name for page in PAGES[1:] if f" {page.name}" not in navigation] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: 'make docs' installs it and runs this test")
    built = tmp_path_factory.mktemp("site")
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(built))
    quiet = {"NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | quiet, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return built


@integration
@pytest.mark.parametrize("term", TERMS)
def test_search_finds_the_term(site, term):
    entries = json.loads((site / "search/search_index.json").read_text())["docs"]
    found = [entry["location"] for entry in entries if term.lower() in f"{entry['title']} {entry['text']}".lower()]
    assert found


@integration
def test_files_stay_downloadable(site):
    schema = (site / "config.schema.json").read_bytes()
    assert schema == (ROOT / "docs/config.schema.json").read_bytes()
    assert {page.suffix for page in (site / "clients").iterdir()} == {".py", ".mjs"}


@integration
def test_the_site_loads_nothing_from_other_hosts(site):
    loaded = [
        (page.name, address)
        for page in site.rglob("*.html")
        for address in re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(https?://[^\"]+)", page.read_text())
    ]
    assert loaded == []
