"""The settings of metrics."""

from pydantic import Field

from fastmock.core.section import SettingsModel


class MetricsSettings(SettingsModel):
    """What is counted for Prometheus, at `GET /metrics`; it takes the extra `metrics`."""

    enabled: bool = Field(False, description="Whether it is.")
    vllm: bool = Field(
        False, description="Whether metrics are there under the names that vLLM has for them too; it turns them on."
    )

    @property
    def any(self) -> bool:
        """Whether anything is counted."""
        return self.enabled or self.vllm
