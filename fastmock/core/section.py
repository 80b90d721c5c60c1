"""What all groups of settings have in common."""

from pydantic import BaseModel, ConfigDict


class SettingsModel(BaseModel):
    """A group of settings; a name that is not among them is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
