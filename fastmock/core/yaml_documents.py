"""Load YAML. Most servers read none, so that this module, which takes 0.02 s to import, is imported when one does."""

import re
from typing import Any

import yaml

from fastmock.core.variables import MARK, VARIABLE


class _Loader(yaml.SafeLoader):
    pass


# Dates stay text, as in JSON.
_Loader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for key, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("!variable", re.compile(rf"^{VARIABLE}$"), ["$"])
_Loader.add_constructor("!variable", lambda _, node: MARK + node.value.strip("${}"))


def load_yaml(text: str | bytes, loader: type[yaml.SafeLoader] = _Loader) -> Any:
    """Parse YAML.

    Raises:
        ValueError: it is not valid, or a value is not of the type of its tag, as in ``!!int x``.
        RecursionError: it is nested too deeply.
    """
    try:
        return yaml.load(text, loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # by PyYAML's constructors
        raise ValueError(f"a value is not of the type of its tag ({type(error).__name__}: {error})") from None
