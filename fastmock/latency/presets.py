"""Latency presets: illustrative, not measured; no provider's latency is claimed.

``gpt-4`` to ``claude-haiku`` use the numbers of llmsim's profiles; the two named after a model size and a number of
H100s use those of llm-d-inference-sim's examples; ``instant`` and ``fast`` are ours.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

PresetName = Literal[
    "instant",
    "fast",
    "gpt-4",
    "gpt-4o",
    "gpt-5",
    "gpt-5-mini",
    "o-series",
    "claude-opus",
    "claude-sonnet",
    "claude-haiku",
    "8b-on-1-h100",
    "70b-on-8-h100",
]


def _normal(mean: float, std: float) -> dict[str, Any]:
    return {"distribution": "normal", "mean": mean, "std": std}


def _profile(ttft: tuple[float, float], itl: tuple[float, float], **more: float) -> dict[str, Any]:
    return {"ttft": _normal(*ttft), "itl": _normal(*itl), **more}


PRESETS: Mapping[PresetName, Mapping[str, Any]] = MappingProxyType(
    {
        "instant": {"ttft": 0, "itl": 0},
        "fast": {"ttft": 50, "itl": 5},
        "gpt-4": _profile((800, 200), (50, 15)),
        "gpt-4o": _profile((400, 100), (25, 8)),
        "gpt-5": _profile((600, 150), (40, 12)),
        "gpt-5-mini": _profile((300, 80), (20, 6)),
        "o-series": _profile((2000, 500), (30, 10)),
        "claude-opus": _profile((1000, 250), (60, 20)),
        "claude-sonnet": _profile((500, 120), (30, 10)),
        "claude-haiku": _profile((200, 50), (15, 5)),
        "8b-on-1-h100": _profile(
            (30, 5), (12, 2), prefill_ms_per_token=0.25, time_factor_under_load=2, saturation_concurrency=16
        ),
        "70b-on-8-h100": _profile(
            (80, 15), (25, 4), prefill_ms_per_token=0.5, time_factor_under_load=3, saturation_concurrency=64
        ),
    }
)
"""The values of each preset, as under ``latency``; times in milliseconds, normal distributions as mean and std."""
