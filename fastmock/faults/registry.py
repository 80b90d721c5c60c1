"""The kinds of faults. To add one: its settings in ``config.faults``, a file here, and its line below."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fastmock.faults import settings
from fastmock.faults.base import Act
from fastmock.faults.kinds.broken_tool_arguments import BreaksArguments
from fastmock.faults.kinds.close_idle import ClosesIdle
from fastmock.faults.kinds.cut import Cuts
from fastmock.faults.kinds.duplicated_chunk import Repeats
from fastmock.faults.kinds.empty_body import Empties
from fastmock.faults.kinds.error_event import SaysError
from fastmock.faults.kinds.hang import Hangs
from fastmock.faults.kinds.invalid_utf8 import Garbles
from fastmock.faults.kinds.latency_spike import TakesLonger
from fastmock.faults.kinds.malformed_chunk import Malforms
from fastmock.faults.kinds.reset import Resets
from fastmock.faults.kinds.slow_first_token import IsSlow
from fastmock.faults.kinds.stall import Stalls
from fastmock.faults.kinds.status import Refuses
from fastmock.faults.kinds.truncated_body import Truncates
from fastmock.faults.kinds.wrong_content_type import Mislabels
from fastmock.faults.kinds.wrong_usage import Miscounts

ACTS: Mapping[type[settings.Strikes], Callable[[Any], Act[Any]]] = MappingProxyType(
    {
        settings.Status: Refuses,
        settings.SlowFirstToken: IsSlow,
        settings.LatencySpike: TakesLonger,
        settings.Stall: Stalls,
        settings.Cut: Cuts,
        settings.ErrorEvent: SaysError,
        settings.MalformedChunk: Malforms,
        settings.InvalidUtf8: Garbles,
        settings.DuplicatedChunk: Repeats,
        settings.WrongContentType: Mislabels,
        settings.EmptyBody: Empties,
        settings.TruncatedBody: Truncates,
        settings.BrokenToolArguments: BreaksArguments,
        settings.WrongUsage: Miscounts,
        settings.Reset: Resets,
        settings.CloseIdle: ClosesIdle,
        settings.Hang: Hangs,
    }
)
