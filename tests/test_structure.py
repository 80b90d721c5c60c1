"""The form of the source: names of providers, sizes of functions and classes, words, the path of a request."""

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from fastmock.core.http import Request
from fastmock.providers import PROVIDERS
from tests.support import KEY, ROOT, make_app

pytestmark = pytest.mark.unit
PACKAGE = ROOT / "fastmock"
NAMED = re.compile("|".join((*(provider.name for provider in PROVIDERS), r"\bproviders\.\w")), re.IGNORECASE)

# Where a provider may be named, and as what.
MAY_NAME = {
    "build.py": r"fastmock\.providers|PROVIDERS",  # the list of providers
    "core/credentials.py": r"(openai|anthropic)-api-key",  # names of headers
    "config/settings.py": r"MOCK_OPENAI_\w+",
    "config/environment.py": r"MOCK_OPENAI_\w*",
    "testing/client.py": r"(?i)\w*(openai|anthropic)\w*",  # clients of the official SDKs
    "testing/server.py": r"MOCK_OPENAI_\w+",
    "testing/environment.py": r"(?i)\w*(openai|anthropic)[\w']*|Claude Code",  # what the SDKs read
    "cli/main.py": r"A mock OpenAI API server: point an OpenAI or Anthropic client at it\.",  # the product
}


class Module(NamedTuple):
    """Facts about a module: its docstrings, its other texts and identifiers by line, its functions and classes."""

    docstrings: list[str]
    names: list[tuple[int, str]]
    definitions: list[tuple[str, bool, int]]


def parsed(path: Path) -> Module:
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree))
    # The texts below assignments are documentation too.
    documentation = {
        id(one.value): one.value.value
        for node in nodes
        if isinstance(body := getattr(node, "body", None), list)
        for one in body
        if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and type(one.value.value) is str
    }
    names = [
        (getattr(node, "lineno", 0), value)
        for node in nodes
        for field in node._fields
        if field in ("id", "attr", "name", "arg", "asname", "module", "value")
        if isinstance(value := getattr(node, field), str | bytes) and id(node) not in documentation
    ]
    definitions = [
        (node.name, isinstance(node, ast.ClassDef), (node.end_lineno or 0) - node.lineno + 1)
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    texts = [(line, text if isinstance(text, str) else text.decode(errors="replace")) for line, text in names]
    return Module(list(documentation.values()), texts, definitions)


@functools.cache
def modules() -> dict[str, Module]:
    """Return all modules by their path in the package."""
    return {path.relative_to(PACKAGE).as_posix(): parsed(path) for path in PACKAGE.rglob("*.py")}


def is_provider(module: str) -> bool:
    return module.startswith("providers/")


def test_modules_outside_providers_name_no_provider():
    named = [
        f"{path}:{line}: {text}"
        for path, module in modules().items()
        if not is_provider(path)
        for line, text in module.names
        if NAMED.search(text) and NAMED.search(re.sub(MAY_NAME.get(path, r"(?!)"), "", text))
    ]
    assert named == []


def test_error_sentences_of_providers_are_in_their_folders_alone():
    def sentences(provider):
        return {
            text.strip()
            for path, module in modules().items()
            if is_provider(path) is provider and (not provider or path.endswith("errors.py"))
            for _, text in module.names
            if len(text.strip()) > 30 and text.strip().count(" ") >= 3
        }

    ours = "\n".join(sentences(False))
    assert [sentence for sentence in sentences(True) if sentence in ours] == []
    assert len(sentences(True)) > 40  # they were found


def test_functions_have_at_most_60_lines_and_classes_250():
    long = [
        f"{path}: {name} has {lines} lines"
        for path, module in modules().items()
        for name, is_class, lines in module.definitions
        if lines > (250 if is_class else 60)
    ]
    assert long == []


def test_docstrings_name_things_instead_of_paraphrasing_them():
    texts = " ".join(text for module in modules().values() for text in module.docstrings)
    words = re.findall(r"[a-zA-Z']+", texts.lower())
    assert words.count("what") <= len(words) * 2 / 1000


@pytest.mark.parametrize("seen_before", [False, True])
def test_plain_chat_request_passes_at_most_six_rooms(seen_before):
    rule = {"match": {"content_contains": "ping"}, "content": "pong"}
    app = make_app({"responses": {"chat_completions": {"rules": [rule]}}})

    def answer(text):
        body = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]})
        return app.handle(Request("POST", "/v1/chat/completions", KEY, body))

    for _ in range(3):
        answer("ping")
    rooms = {"server"}  # the runtime, which is not called here

    def note(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            room, *inside = path.relative_to(PACKAGE).parts
            if inside:
                rooms.add(room)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        reply = answer("ping" if seen_before else "ping again")
    finally:
        sys.setprofile(before)
    assert reply.head.status == 200
    assert len(rooms) <= (3 if seen_before else 6), rooms


def test_libraries_are_imported_without_threads_or_an_event_loop_and_complete_for_others():
    code = (
        "import os, sys\n"
        "from fastmock.server.runtimes import granian as runtime\n"
        "private, http = runtime.preload()\n"
        "print('numpy' in sys.modules, 'asyncio' in sys.modules, 'ssl' in sys.modules)\n"
        "print(len(os.listdir('/proc/self/task')), 'OPENBLAS_NUM_THREADS' in os.environ)\n"
        "from granian import Granian, _granian\n"
        "print(_granian is private, runtime.preload() == (private, http))\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["True", "False", "False", "1", "False", "True", "True"]
