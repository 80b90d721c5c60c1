"""``GET /metrics``: the counters of all workers in shared memory, in the text format of Prometheus.

Counting a response takes five additions to the worker's own row and two readings of the clock.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from fastmock._version import __version__
from fastmock.app import Answer, App
from fastmock.config.metrics import MetricScript
from fastmock.core.http import Reply, Request, ResponseHead, Stream
from fastmock.core.routing import OTHER
from fastmock.shared.block import GENERATION, RESTARTS
from fastmock.shared.cache_counts import cache_counts
from fastmock.shared.connection_counts import CLOSED_IDLE, OPENED, REUSED
from fastmock.shared.metric_series import BOUNDS, STREAMS, TIMES_WIDTH, Labels, Meters
from fastmock.shared.script_starts import starts_of
from fastmock.shared.store_state import StoreState
from fastmock.telemetry.observer import Follower, Observer

PATH = "/metrics"

_REQUEST, _FAULT, _LIMIT, _CHECK = "request", "fault", "limit", "check"  # kinds of counters; the first label of each
_LONGEST = 64  # characters of a label
_MOST_MODELS = 100  # distinct model names; further ones are counted together
_MOST_KNOWN = 4096
_HISTOGRAM = TIMES_WIDTH // 3
_DURATION, _FIRST, _GAP = (part * _HISTOGRAM for part in range(3))  # offsets of the histograms in the times
_BOUNDS = [f"{bound / 1e9:g}" for bound in BOUNDS]
_QUICK = BOUNDS[0]
_EVERY = 4  # one in so many bounds of lateness is shown, so that each is twice the previous one

_CONNECTIONS = (
    ("opened", OPENED, "Connections with at least one request (Granian only)."),
    ("reused", REUSED, "Requests on reused connections (Granian only)."),
    (
        "closed_idle",
        CLOSED_IDLE,
        "Idle connections closed by the server or a fault (Granian only).",
    ),
)

_Key = tuple[str, str, str, int]
"""Endpoint, model, rule and status."""
_Places = tuple[int, int, int, int, int]
"""Indexes of the number of requests, their prompt and completion tokens, the sum of their durations, and the fastest
bucket.
"""


class Metrics(Collector, Observer):
    """The metrics of one worker, which reports those of all."""

    def __init__(self, app: App) -> None:
        """``app`` must be attached to the server's shared memory block."""
        self._app = app
        self._vllm = app.config.settings.metrics.vllm
        self._meters = Meters(app.share)
        self._numbers = app.share.numbers
        self._faulty = app.faults.any
        self._places: dict[_Key, _Places] = {}
        self._models: set[str] = set()
        self._scripts = _Scripts(app)
        # Series beyond all limits are counted here.
        self._last = self._place((_REQUEST, *[OTHER] * 4)), self._time((OTHER, OTHER))

    def served(self, app: App) -> App:
        """Return an App that serves the metrics."""
        head = ResponseHead(200, (("content-type", CONTENT_TYPE_LATEST),))
        return app.with_route(PATH, lambda _: Reply(head, "req_metrics", generate_latest(self)))

    def answered(self, request: Request, answer: Answer, spent: int, is_instant: bool) -> Follower | None:
        """Count a response.

        The common steps are inlined and the indexes cached: calls and sums would take twice as long. Each addition is
        atomic, since it calls no function.
        """
        numbers, chat = self._numbers, answer.chat
        if chat is None:
            key = self._app.kind_of(request.path), answer.model, answer.rule, answer.head.status
            place, prompt_place, _, times, bucket = self._places.get(key) or self._find(key)
            numbers[prompt_place] += answer.prompt_tokens
        else:
            key = chat.endpoint, chat.model, answer.rule, answer.head.status
            place, prompt_place, completion_place, times, bucket = self._places.get(key) or self._find(key)
            numbers[prompt_place] += chat.prompt_tokens
            numbers[completion_place] += chat.completion_tokens
        numbers[place] += 1
        if chat is None or self._faulty:
            self._note(answer)
        if not is_instant:
            return _Follower(answer, numbers, self._app.share.row + STREAMS, times)
        if spent > _QUICK:
            bucket += bisect_left(BOUNDS, spent)
        numbers[times] += spent
        numbers[bucket] += 1
        if chat is not None and chat.stream:
            _observe(numbers, times + _FIRST, spent)
        return None

    def _find(self, key: _Key) -> _Places:
        """Return the indexes of the counters and times of a key."""
        endpoint, model, rule, status = key
        model, rule = _plain(model), _plain(rule)
        if model not in self._models:
            self._models.update(labels[1] for labels in self._meters.times.labels())
            if model not in self._models and len(self._models) >= _MOST_MODELS:
                model = OTHER
        code = str(status)
        place = self._place((_REQUEST, endpoint, model, rule, code), (_REQUEST, endpoint, model, OTHER, code))
        place, times = place or self._last[0], self._time((endpoint, model)) or self._last[1]
        found = place, place + 1, place + 2, times, times + 1
        if len(self._places) >= _MOST_KNOWN:
            self._places.clear()
        self._places[key] = found
        return found

    def _place(self, *wanted: Labels) -> int:
        """Return the index of the first of some labels that has one; 0 if none has."""
        return next((place for labels in wanted if (place := self._meters.counts.place(labels))), 0)

    def _time(self, labels: Labels) -> int:
        return self._meters.times.place(labels) or 0

    def _note(self, answer: Answer) -> None:
        """Count an applied fault, a reached limit or a failed check."""
        for kind, name in ((_FAULT, answer.fault), (_LIMIT, answer.limit), (_CHECK, answer.check)):
            if name and (place := self._place((kind, name))):
                self._numbers[place] += 1

    def collect(self) -> Iterator[Metric]:
        """Yield all current metrics; called by the client library."""
        return self._scripts.in_place_of(self._collected())

    def _collected(self) -> Iterator[Metric]:
        """Yield the server's own metrics."""
        numbers, share = self._numbers, self._app.share
        requests: dict[Labels, int] = {}
        tokens: dict[Labels, tuple[int, int]] = {}
        others: dict[str, dict[Labels, int]] = {_FAULT: {}, _LIMIT: {}, _CHECK: {}}
        for (kind, *labels), (count, prompt, completion) in self._meters.counts.sums():
            if kind != _REQUEST:
                others[kind][tuple(labels)] = count
                continue
            if count:
                requests[tuple(labels)] = count
            if prompt:
                before = tokens.get((labels[0], labels[1]), (0, 0))
                tokens[labels[0], labels[1]] = before[0] + prompt, before[1] + completion
        times = {labels: values for labels, values in self._meters.times.sums() if any(values)}
        by_model = ["endpoint", "model"]
        yield _counter("fastmock_requests", "Answered requests.", [*by_model, "rule", "status"], requests.items())
        help_text = "Number of {} tokens of answered requests."
        for place, name in enumerate(("prompt", "completion")):
            values = ((labels, both[place]) for labels, both in tokens.items())
            yield _counter(f"fastmock_{name}_tokens", help_text.format(name), by_model, values)
        for part, name, text in (
            (_DURATION, "request_duration", "Time from a request to the end of its response, in seconds."),
            (_FIRST, "time_to_first_token", "Time from a request to the first chunk of a stream, in seconds."),
            (_GAP, "inter_token_latency", "Time between tokens of a stream, in seconds."),
        ):
            yield _histogram(f"fastmock_{name}_seconds", text, by_model, part, times)
        running, waiting = self._app.in_flight.count(), self._app.waiting() if self._app.waiting else 0
        streams = sum(numbers[row + STREAMS] for row in share.rows())
        yield _gauge("fastmock_requests_in_flight", "Delayed or streaming responses in flight.", running)
        yield _gauge("fastmock_requests_queued", "Requests in the queue.", waiting)
        yield _gauge("fastmock_open_streams", "Open streams.", streams)
        yield self._lateness()
        yield _counter("fastmock_faults", "Injected faults.", ["kind"], others[_FAULT].items())
        yield _counter("fastmock_limits_hit", "Requests rejected by a limit.", ["limit"], others[_LIMIT].items())
        yield _counter("fastmock_checks_failed", "Requests rejected by a check.", ["check"], others[_CHECK].items())
        for name, place, meaning in _CONNECTIONS:
            total = sum(numbers[row + place] for row in share.rows())
            yield _counter(f"fastmock_connections_{name}", meaning, [], [((), total)])
        for name, total in cache_counts(share).items():
            yield _counter(
                f"fastmock_cache_{name}", f"{name.capitalize()} of the cache of responses.", [], [((), total)]
            )
        yield _counter("fastmock_worker_restarts", "Restarted workers.", [], [((), numbers[RESTARTS])])
        yield _gauge("fastmock_workers", "Running workers.", len(share.rows()))
        text = "Number of the active configuration; every change increases it."
        yield _gauge("fastmock_configuration_generation", text, numbers[GENERATION])
        if self._app.config.settings.store.url is not None:
            text = "Whether the store of several servers can be reached."
            yield _gauge("fastmock_store_reachable", text, StoreState(share).is_reachable)
        info = GaugeMetricFamily("fastmock_info", "Version of the server.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        if self._vllm:
            yield from self._as_vllm(running, waiting, tokens, times)

    def _lateness(self) -> Metric:
        counts, bounds = self._app.lateness.all(), self._app.lateness.bounds
        sums = list(accumulate(counts))
        buckets = [(f"{bounds[at]:.3g}", sums[at]) for at in range(0, len(bounds), _EVERY)]
        family = HistogramMetricFamily(
            "fastmock_frame_lateness_seconds", "Lateness of frames of paced streams, in seconds."
        )
        family.add_metric([], [*buckets, ("+Inf", sums[-1])], None)
        return family

    def _as_vllm(
        self, running: int, waiting: int, tokens: dict[Labels, tuple[int, int]], times: dict[Labels, list[int]]
    ) -> Iterator[Metric]:
        """Yield vLLM's metrics of the endpoints that generate text."""
        models = self._app.config.settings.models.available
        served = (models[0].id if models else "default",)
        name = ["model_name"]
        most = self._app.config.settings.overload.max_concurrent
        yield _gauge("vllm:num_requests_running", "Requests being answered.", running, name, served)
        yield _gauge("vllm:num_requests_waiting", "Requests in the queue.", waiting, name, served)
        if most:
            share = min(1.0, running / most)
            yield _gauge("vllm:kv_cache_usage_perc", "Share of overload.max_concurrent in use.", share, name, served)
        for place, kind in enumerate(("prompt", "generation")):
            sums: dict[Labels, int] = {}
            for (_, model), both in tokens.items():
                sums[model,] = sums.get((model,), 0) + both[place]
            yield _counter(f"vllm:{kind}_tokens", f"Number of {kind} tokens.", name, sums.items())
        generated: dict[Labels, list[int]] = {}
        for (endpoint, model), values in times.items():
            if model and endpoint in self._app.readings.kinds:
                before = generated.get((model,), [0] * TIMES_WIDTH)
                generated[model,] = [ours + theirs for ours, theirs in zip(before, values, strict=True)]
        for part, names, text in (
            (_FIRST, ("time_to_first_token",), "Time to first token, in seconds."),
            (_GAP, ("inter_token_latency", "time_per_output_token"), "Time between output tokens, in seconds."),
            (_DURATION, ("e2e_request_latency",), "End-to-end latency of requests, in seconds."),
        ):
            for histogram in names:
                yield _histogram(f"vllm:{histogram}_seconds", text, name, part, generated)


class _Scripts:
    """The scripted metrics."""

    def __init__(self, app: App) -> None:
        self._scripts = app.config.settings.metrics.script
        self._keys = {name: _key_of(f"{name} {script.model_dump_json()}") for name, script in self._scripts.items()}
        self._starts = starts_of(app.share, [*self._keys.values()])

    def in_place_of(self, families: Iterable[Metric]) -> Iterator[Metric]:
        """Yield metrics with the scripted ones in place of those with the same names."""
        now, left = time.monotonic_ns(), dict(self._scripts)
        for family in families:
            script = left.pop(family.name, None)
            if script is None:
                yield family
            else:  # with the labels of the server's own, unless the script has some
                labels = script.labels or (family.samples[0].labels if family.samples else {})
                yield self._scripted(family.name, family.documentation, script, labels, now)
        for name, script in left.items():
            yield self._scripted(name, "A scripted metric.", script, script.labels, now)

    def _scripted(self, name: str, text: str, script: MetricScript, labels: Mapping[str, str], now: int) -> Metric:
        value = script.at((now - self._starts[self._keys[name]]) / 1e9)
        return _gauge(name, text, value, labels, tuple(labels.values()))


def _key_of(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") or 1


def _plain(text: str) -> str:
    """Return a label without unprintable characters."""
    return "".join(char if char.isprintable() else "?" for char in text[:_LONGEST])


def _observe(numbers: "memoryview[int]", place: int, nanoseconds: int, times: int = 1) -> None:
    """Add an observation to a histogram, a number of times."""
    bucket = place + 1 + bisect_left(BOUNDS, nanoseconds)
    spent = nanoseconds * times
    numbers[place] += spent
    numbers[bucket] += times


class _Follower(Follower):
    """Observes the times of a response that takes time."""

    def __init__(self, answer: Answer, numbers: "memoryview[int]", streams: int, times: int) -> None:
        self._tokens, self._last = (answer.tokens, answer.steps) if isinstance(answer, Stream) else (None, 0)
        self._numbers = numbers
        self._streams = streams
        self._times = times
        self._sent = 0
        self._is_stream = isinstance(answer, Stream)
        numbers[streams] += self._is_stream

    @override
    def sent(self, begin: int, end: int, size: int, at: int, is_last: bool) -> None:
        if not size:
            return
        # The last step has no tokens; n tokens have n - 1 gaps.
        tokens = end - begin - (end == self._last) if self._tokens is None else sum(self._tokens[begin:end])
        if self._sent and tokens:
            _observe(self._numbers, self._times + _GAP, (at - self._sent) // tokens, tokens)
            self._sent = at
        elif not self._sent:
            _observe(self._numbers, self._times + _FIRST, at)
            if tokens > 1:
                _observe(self._numbers, self._times + _GAP, 0, tokens - 1)
            self._sent = at

    @override
    def ended(self, size: int, at: int, is_whole: bool) -> None:
        self._numbers[self._streams] -= self._is_stream
        _observe(self._numbers, self._times, at)


def _counter(name: str, text: str, labels: list[str], values: Iterable[tuple[Labels, int]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family


def _gauge(name: str, text: str, value: float, labels: Iterable[str] = (), of: Labels = ()) -> Metric:
    family = GaugeMetricFamily(name, text, labels=list(labels))
    family.add_metric(of, value)
    return family


def _histogram(name: str, text: str, labels: list[str], part: int, times: dict[Labels, list[int]]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for of, values in times.items():
        spent, *counts = values[part : part + _HISTOGRAM]
        sums = list(accumulate(counts))
        if sums[-1]:
            family.add_metric(of, list(zip([*_BOUNDS, "+Inf"], sums, strict=True)), spent / 1e9)
    return family
