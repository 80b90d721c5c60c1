"""The kinds of faults. To add one: its settings in ``config.faults``, a file here, and its line below."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fastmock.config import faults
from fastmock.faults.act import Act
from fastmock.faults.broken_tool_arguments import BreaksArguments
from fastmock.faults.close_idle import ClosesIdle
from fastmock.faults.cut import Cuts
from fastmock.faults.duplicated_chunk import Repeats
from fastmock.faults.empty_body import Empties
from fastmock.faults.error_event import SaysError
from fastmock.faults.hang import Hangs
from fastmock.faults.invalid_utf8 import Garbles
from fastmock.faults.latency_spike import TakesLonger
from fastmock.faults.malformed_chunk import Malforms
from fastmock.faults.reset import Resets
from fastmock.faults.slow_first_token import IsSlow
from fastmock.faults.stall import Stalls
from fastmock.faults.status import Refuses
from fastmock.faults.truncated_body import Truncates
from fastmock.faults.wrong_content_type import Mislabels
from fastmock.faults.wrong_usage import Miscounts

ACTS: Mapping[type[faults.Strikes], Callable[[Any], Act[Any]]] = MappingProxyType(
    {
        faults.Status: Refuses,
        faults.SlowFirstToken: IsSlow,
        faults.LatencySpike: TakesLonger,
        faults.Stall: Stalls,
        faults.Cut: Cuts,
        faults.ErrorEvent: SaysError,
        faults.MalformedChunk: Malforms,
        faults.InvalidUtf8: Garbles,
        faults.DuplicatedChunk: Repeats,
        faults.WrongContentType: Mislabels,
        faults.EmptyBody: Empties,
        faults.TruncatedBody: Truncates,
        faults.BrokenToolArguments: BreaksArguments,
        faults.WrongUsage: Miscounts,
        faults.Reset: Resets,
        faults.CloseIdle: ClosesIdle,
        faults.Hang: Hangs,
    }
)
