"""The source keeps its form: names of providers, sizes of functions and classes, words, the path of a request."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from fastmock.core.http import Request
from fastmock.providers import PROVIDERS
from tests.support import KEY, ROOT, make_app

pytestmark = pytest.mark.unit
PACKAGE = ROOT / "fastmock"
MODULES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}
PROVIDER = re.compile("|".join(provider.name for provider in PROVIDERS), re.IGNORECASE)

# Where a provider may be named, and as what.
MAY_NAME = {
    "build.py": r"fastmock\.providers|PROVIDERS",  # the list of providers
    "core/credentials.py": r"(openai|anthropic)-api-key",  # names of headers
    "config/settings.py": r"MOCK_OPENAI_\w+",
    "config/environment.py": r"MOCK_OPENAI_\w*",
    "cli/main.py": r"A mock OpenAI API server: point an OpenAI or Anthropic client at it\.",  # the product
}
DOCUMENTED = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef


def docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Yield the docstrings of a module, and the texts below assignments, which document names."""
    for node in ast.walk(tree):
        for place in getattr(node, "body", ()) if isinstance(getattr(node, "body", None), list) else ():
            if isinstance(place, ast.Expr) and isinstance(place.value, ast.Constant) and type(place.value.value) is str:
                yield place.value


def names_and_texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the identifiers, imports and texts of a module, but not its docstrings: they may give sources of facts."""
    documentation = {id(node) for node in docstrings(tree)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for field in ("id", "attr", "name", "arg", "asname", "module"):
            if isinstance(value := getattr(node, field, None), str):
                yield line, value
        if isinstance(node, ast.Constant) and id(node) not in documentation:
            if isinstance(node.value, str):
                yield line, node.value
            elif isinstance(node.value, bytes):
                yield line, node.value.decode(errors="replace")


def is_provider(module: str) -> bool:
    return module.startswith("providers/")


@pytest.mark.parametrize("module", [module for module in MODULES if not is_provider(module)])
def test_module_outside_providers_names_no_provider(module):
    allowed = MAY_NAME.get(module, r"(?!)")
    named = [
        f"{module}:{line}: {text}"
        for line, text in names_and_texts(MODULES[module])
        if PROVIDER.search(re.sub(allowed, "", text)) or re.search(r"\bproviders\.\w", re.sub(allowed, "", text))
    ]
    assert named == []


def test_error_sentences_of_providers_are_in_their_folders_alone():
    def texts(provider):
        return {
            text.strip()
            for module, tree in MODULES.items()
            if is_provider(module) is provider and (not provider or module.endswith("errors.py"))
            for _, text in names_and_texts(tree)
            if len(text.strip()) > 30 and text.strip().count(" ") >= 3
        }

    ours = texts(False)
    assert [sentence for sentence in texts(True) if any(sentence in text for text in ours)] == []
    assert len(texts(True)) > 40  # they were found


def test_functions_have_at_most_60_lines_and_classes_250():
    long = []
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                most = 250 if isinstance(node, ast.ClassDef) else 60
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > most:
                    long.append(f"{module}: {node.name} has {lines} lines")
    assert long == []


def test_docstrings_name_things_instead_of_paraphrasing_them():
    words = [
        word.lower()
        for tree in MODULES.values()
        for node in docstrings(tree)
        for word in re.findall(r"[a-zA-Z']+", node.value)
    ]
    assert words.count("what") <= len(words) * 2 / 1000


def test_plain_chat_request_passes_at_most_six_rooms(tmp_path):
    rule = {"match": {"content_contains": "ping"}, "content": "pong"}
    app = make_app({"responses": {"chat_completions": {"rules": [rule]}}}, tmp_path)
    body = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "ping"}]})

    def answer():
        return app.handle(Request("POST", "/v1/chat/completions", KEY, body))

    answer()
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
        reply = answer()
    finally:
        sys.setprofile(before)
    assert reply.head.status == 200
    assert len(rooms) <= 6, rooms
