"""The settings of metrics."""

from pydantic import Field

from fastmock.core.section import SettingsModel


class MetricsSettings(SettingsModel):
    """Prometheus metrics at `GET /metrics`; they need the extra `metrics`."""

    enabled: bool = Field(False, description="Enable Prometheus metrics at `GET /metrics`.")
    vllm: bool = Field(
        False, description="Expose metrics under vLLM-compatible names too; also enables `GET /metrics`."
    )

    @property
    def any(self) -> bool:
        """Whether any metrics are enabled."""
        return self.enabled or self.vllm
