"""Load the YAML of vcrpy's cassettes."""

from typing import Any

import yaml

from fastmock.core.yaml_documents import load_yaml


class _Loader(yaml.SafeLoader):
    """Loads plain values, and the few Python objects that vcrpy writes for bodies, without executing anything."""


def _first_bytes(loader: yaml.SafeLoader, node: yaml.Node) -> bytes:
    """Return the content of a file object: the first part of its state."""
    state = loader.construct_mapping(node, deep=True)["state"] if isinstance(node, yaml.MappingNode) else ()
    return bytes(next((part for part in state if isinstance(part, bytes)), b""))


def _sequence(loader: yaml.SafeLoader, node: yaml.Node) -> list[Any]:
    return loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else []


_Loader.add_constructor("tag:yaml.org,2002:python/object/new:_io.BytesIO", _first_bytes)
_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _sequence)


def load_vcr_yaml(data: bytes) -> Any:
    """Parse a file; the errors are those of ``load_yaml``."""
    return load_yaml(data, _Loader)
