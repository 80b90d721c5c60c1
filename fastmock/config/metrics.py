"""The settings of metrics."""

from pydantic import Field

from fastmock.core.section import SettingsModel


class MetricsSettings(SettingsModel):
    """What is counted for Prometheus, at `GET /metrics`; it takes the extra `metrics`."""

    enabled: bool = Field(False, description="Enable Prometheus metrics at `GET /metrics`.")
    vllm: bool = Field(
        False, description="Expose metrics under vLLM-compatible names too; also enables `GET /metrics`."
    )

    @property
    def any(self) -> bool:
        """Whether anything is counted."""
        return self.enabled or self.vllm
