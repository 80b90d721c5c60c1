"""The kinds of faults: all modules in ``faults/kinds``."""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from fastmock.faults import kinds
from fastmock.faults.base import Fault
from fastmock.faults.settings import FaultSettings

for _module in iter_modules(kinds.__path__):
    import_module(f"{kinds.__name__}.{_module.name}")

FAULTS: Mapping[str, type[Fault[Any]]] = MappingProxyType(Fault.kinds)
"""The kinds of faults by name."""

if TYPE_CHECKING:
    AnyFaultSettings = FaultSettings
else:
    AnyFaultSettings = Annotated[
        Union[tuple(fault.settings_type for fault in FAULTS.values())], Field(discriminator="kind")  # noqa: UP007
    ]
    """The settings of a fault of any kind."""
