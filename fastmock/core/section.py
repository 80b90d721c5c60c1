"""The base class of all groups of settings."""

from pydantic import BaseModel, ConfigDict


class SettingsModel(BaseModel):
    """A group of settings; an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
