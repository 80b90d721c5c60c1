"""The base class of all groups of settings."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from typing_extensions import override


class SettingsModel(BaseModel):
    """A group of settings; an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @override
    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self  # it never changes; copies of the defaults took a third of the time of loading
