"""Read JSON and YAML files in which a template variable may stand unquoted: ``"created": $timestamp``."""

import re
from pathlib import Path
from typing import Any

import orjson
import yaml

VARIABLE = r"\$(?:[A-Za-z_]\w*|\{\w+\})"
MARK = "\0fastmock\0"
"""Put before the name of a variable that stood unquoted, so that it is told from the same text in quotes."""

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|' + VARIABLE, re.S)


class DocumentError(Exception):
    """A file that cannot be read or parsed; the message is one line and does not name the file."""


class _YamlLoader(yaml.SafeLoader):
    pass


# A date stays the text that it is in JSON.
_YamlLoader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for key, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_YamlLoader.add_implicit_resolver("!variable", re.compile(rf"^{VARIABLE}$"), ["$"])
_YamlLoader.add_constructor("!variable", lambda _, node: MARK + node.value.strip("${}"))


def _marked(token: re.Match[str]) -> str:
    text = token.group()
    return text if text[0] == '"' else orjson.dumps(MARK + text.strip("${}")).decode()


def read_samples(path: Path) -> list[float]:
    """Read recorded samples: a JSON or YAML list by its suffix, in any other file numbers between commas or spaces.

    Raises:
        DocumentError: it cannot be read, or holds anything but numbers of at least 0, or none.
    """
    if path.suffix in (".json", ".yaml", ".yml"):
        found = read_document(path)
    else:
        try:
            found = [float(word) for word in path.read_text("utf-8-sig").replace(",", " ").split()]
        except (OSError, UnicodeDecodeError, ValueError) as error:
            fault = error.strerror if isinstance(error, OSError) else str(error)
            raise DocumentError(f"cannot be read as numbers: {fault}") from None
    numbers = isinstance(found, list) and all(type(x) in (int, float) and 0 <= x < float("inf") for x in found)
    if not numbers or not found:
        raise DocumentError("must hold a list of numbers of at least 0")
    return [float(number) for number in found]


def read_document(path: Path) -> Any:
    """Parse the file by its suffix: ``.yaml`` and ``.yml`` as YAML, anything else as JSON.

    Raises:
        DocumentError: the file cannot be read, is not UTF-8, or does not parse.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise DocumentError(f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise DocumentError(f"is not UTF-8 (byte {error.start})") from None
    try:
        if path.suffix in (".yaml", ".yml"):
            return yaml.load(text, _YamlLoader)  # noqa: S506 - derived from SafeLoader
        return orjson.loads(_JSON_TOKEN.sub(_marked, text))
    except orjson.JSONDecodeError as error:
        raise DocumentError(f"is not valid JSON: {error}") from None
    except yaml.YAMLError as error:
        raise DocumentError(f"is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise DocumentError("is nested too deeply") from None
