"""``GET /metrics``: what every worker counts in the shared block, in the text form of Prometheus.

To count an answer takes five additions to the worker's own row and two looks at the clock.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fastmock._version import __version__
from fastmock.app import Answer, App
from fastmock.core.http import Reply, Request, ResponseHead, Stream
from fastmock.core.routing import OTHER
from fastmock.shared.block import GENERATION, RESTARTS
from fastmock.shared.connection_counts import CLOSED_IDLE, OPENED, REUSED
from fastmock.shared.metric_series import BOUNDS, STREAMS, TIMES_WIDTH, Labels, Meters
from fastmock.telemetry.observer import Follower, Observer

PATH = "/metrics"

_REQUEST, _FAULT, _LIMIT, _CHECK = "request", "fault", "limit", "check"  # what is counted; the first label of each
_LONGEST = 64  # characters of a label
_MOST_MODELS = 100  # names of models, after which the others are not told apart
_MOST_KNOWN = 4096
_HISTOGRAM = TIMES_WIDTH // 3
_DURATION, _FIRST, _GAP = (part * _HISTOGRAM for part in range(3))  # where the histograms are, among the times
_BOUNDS = [f"{bound / 1e9:g}" for bound in BOUNDS]
_QUICK = BOUNDS[0]
_EVERY = 4  # of the bounds of lateness one in so many is shown, so that each is twice the one before

_CONNECTIONS = (
    ("opened", OPENED, "Connections that brought a request (Granian only)."),
    ("reused", REUSED, "Requests that came over a connection that had brought another (Granian only)."),
    ("closed_idle", CLOSED_IDLE, "Connections that were closed while idle, for room or by a fault (Granian only)."),
)

_Key = tuple[str, str, str, int]
"""An endpoint, a model, a rule and a status."""
_Places = tuple[int, int, int, int, int]
"""Where requests are counted, their tokens in and out, the sum of their durations, and the quickest of them."""


class Metrics(Collector, Observer):
    """The metrics of one worker, which shows those of all."""

    def __init__(self, app: App) -> None:
        """Begin with an app that has joined the server's block."""
        self._app = app
        self._vllm = app.config.settings.metrics.vllm
        self._meters = Meters(app.share)
        self._numbers = app.share.numbers
        self._faulty = app.faults.any
        self._places: dict[_Key, _Places] = {}
        self._models: set[str] = set()
        # What is beyond all bounds is counted here.
        self._last = self._place((_REQUEST, *[OTHER] * 4)), self._time((OTHER, OTHER))

    def serve(self) -> None:
        """Have what was counted shown."""
        head = ResponseHead(200, (("content-type", CONTENT_TYPE_LATEST),))
        for method in ("GET", "HEAD"):
            self._app.handlers[method, PATH] = lambda _: Reply(head, "req_metrics", generate_latest(self))

    def answered(self, request: Request, answer: Answer, spent: int, is_instant: bool) -> Follower | None:
        """See Observer.

        The steps that most answers take are written out, and where each is counted is known beforehand: calls and sums
        would take twice as long. Each addition is atomic, as no function is called inside of it.
        """
        numbers, chat = self._numbers, answer.chat
        if chat is None:
            key = self._app.kind_of(request.path), answer.model, answer.rule, answer.head.status
            place, prompt_place, _, times, bucket = self._places.get(key) or self._find(key)
            numbers[prompt_place] += answer.prompt_tokens
        else:
            key = chat.endpoint, chat.model, answer.rule, answer.head.status
            place, prompt_place, said_place, times, bucket = self._places.get(key) or self._find(key)
            numbers[prompt_place] += chat.prompt_tokens
            numbers[said_place] += chat.completion_tokens
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
        """Return where requests of a kind are counted, and their times."""
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
        """Return the place of the first of some labels that has one; 0 where none has."""
        return next((place for labels in wanted if (place := self._meters.counts.place(labels))), 0)

    def _time(self, labels: Labels) -> int:
        return self._meters.times.place(labels) or 0

    def _note(self, answer: Answer) -> None:
        """Count a fault that has struck, a limit that was hit, or a check that refused the request."""
        for kind, name in ((_FAULT, answer.fault), (_LIMIT, answer.limit), (_CHECK, answer.check)):
            if name and (place := self._place((kind, name))):
                self._numbers[place] += 1

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, as they stand now; what the client library calls."""
        numbers, share = self._numbers, self._app.share
        requests: dict[Labels, int] = {}
        tokens: dict[Labels, tuple[int, int]] = {}
        others: dict[str, dict[Labels, int]] = {_FAULT: {}, _LIMIT: {}, _CHECK: {}}
        for (kind, *labels), (count, prompt, said) in self._meters.counts.sums():
            if kind != _REQUEST:
                others[kind][tuple(labels)] = count
                continue
            if count:
                requests[tuple(labels)] = count
            if prompt:
                before = tokens.get((labels[0], labels[1]), (0, 0))
                tokens[labels[0], labels[1]] = before[0] + prompt, before[1] + said
        times = {labels: values for labels, values in self._meters.times.sums() if any(values)}
        by_model = ["endpoint", "model"]
        yield _counter(
            "fastmock_requests", "Requests that were answered.", [*by_model, "rule", "status"], requests.items()
        )
        said_of = "Tokens of {}, of requests that were answered."
        for place, name in enumerate(("prompt", "completion")):
            values = ((labels, both[place]) for labels, both in tokens.items())
            yield _counter(f"fastmock_{name}_tokens", said_of.format(f"{name}s"), by_model, values)
        for part, name, text in (
            (_DURATION, "request_duration", "From a request to the end of its answer."),
            (_FIRST, "time_to_first_token", "From a request to the first chunk of a stream."),
            (_GAP, "inter_token_latency", "From one chunk of a stream to the next."),
        ):
            yield _histogram(f"fastmock_{name}_seconds", text, by_model, part, times)
        running, waiting = self._app.in_flight.count(), self._app.waiting() if self._app.waiting else 0
        streams = sum(numbers[row + STREAMS] for row in share.rows())
        yield _gauge("fastmock_requests_in_flight", "Answers that take time and are being sent.", running)
        yield _gauge("fastmock_requests_queued", "Requests that wait for their turn.", waiting)
        yield _gauge("fastmock_open_streams", "Streams that are being sent.", streams)
        yield self._lateness()
        yield _counter("fastmock_faults", "Faults that have struck.", ["kind"], others[_FAULT].items())
        yield _counter("fastmock_limits_hit", "Requests that a limit refused.", ["limit"], others[_LIMIT].items())
        yield _counter("fastmock_checks_failed", "Requests that a check refused.", ["check"], others[_CHECK].items())
        for name, place, meaning in _CONNECTIONS:
            total = sum(numbers[row + place] for row in share.rows())
            yield _counter(f"fastmock_connections_{name}", meaning, [], [((), total)])
        yield _counter("fastmock_worker_restarts", "Workers that were replaced.", [], [((), numbers[RESTARTS])])
        yield _gauge("fastmock_workers", "Workers.", len(share.rows()))
        text = "The number of the configuration in force; it rises with each change."
        yield _gauge("fastmock_configuration_generation", text, numbers[GENERATION])
        info = GaugeMetricFamily("fastmock_info", "What is running.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        if self._vllm:
            yield from self._as_vllm(running, waiting, tokens, times)

    def _lateness(self) -> Metric:
        counts, bounds = self._app.lateness.all(), self._app.lateness.bounds
        sums = list(accumulate(counts))
        buckets = [(f"{bounds[at]:.3g}", sums[at]) for at in range(0, len(bounds), _EVERY)]
        family = HistogramMetricFamily("fastmock_frame_lateness_seconds", "How late frames of paced answers were sent.")
        family.add_metric([], [*buckets, ("+Inf", sums[-1])], None)
        return family

    def _as_vllm(
        self, running: int, waiting: int, tokens: dict[Labels, tuple[int, int]], times: dict[Labels, list[int]]
    ) -> Iterator[Metric]:
        """Yield the metrics that vLLM serves, of what makes text, under its names."""
        models = self._app.config.settings.models.available
        served = (models[0].id if models else "default",)
        name = ["model_name"]
        most = self._app.config.settings.overload.max_concurrent
        yield _gauge("vllm:num_requests_running", "Requests that are being answered.", running, name, served)
        yield _gauge("vllm:num_requests_waiting", "Requests that wait for their turn.", waiting, name, served)
        if most:
            share = min(1.0, running / most)
            yield _gauge("vllm:kv_cache_usage_perc", "Share of the places that are taken.", share, name, served)
        for place, what in enumerate(("prompt", "generation")):
            sums: dict[Labels, int] = {}
            for (_, model), both in tokens.items():
                sums[model,] = sums.get((model,), 0) + both[place]
            yield _counter(f"vllm:{what}_tokens", f"Tokens of {what}.", name, sums.items())
        generated: dict[Labels, list[int]] = {}
        for (endpoint, model), values in times.items():
            if model and endpoint in self._app.text_kinds:
                before = generated.get((model,), [0] * TIMES_WIDTH)
                generated[model,] = [ours + theirs for ours, theirs in zip(before, values, strict=True)]
        for part, names in (
            (_FIRST, ("time_to_first_token",)),
            (_GAP, ("inter_token_latency", "time_per_output_token")),
            (_DURATION, ("e2e_request_latency",)),
        ):
            for what in names:
                yield _histogram(f"vllm:{what}_seconds", "See vLLM.", name, part, generated)


def _plain(text: str) -> str:
    """Return a label that breaks nothing."""
    return "".join(char if char.isprintable() else "?" for char in text[:_LONGEST])


def _observe(numbers: "memoryview[int]", place: int, nanoseconds: int, times: int = 1) -> None:
    """Add to a histogram, so many times."""
    bucket = place + 1 + bisect_left(BOUNDS, nanoseconds)
    spent = nanoseconds * times
    numbers[place] += spent
    numbers[bucket] += times


class _Follower(Follower):
    """Observes the times of an answer that takes time."""

    def __init__(self, answer: Answer, numbers: "memoryview[int]", streams: int, times: int) -> None:
        self._tokens, self._last = (answer.tokens, answer.steps) if isinstance(answer, Stream) else (None, 0)
        self._numbers = numbers
        self._streams = streams
        self._times = times
        self._sent = 0
        self._is_stream = isinstance(answer, Stream)
        numbers[streams] += self._is_stream

    def sent(self, begin: int, end: int, size: int, at: int, is_last: bool) -> None:
        """See Follower."""
        if not size:
            return
        # The last step says that this was all; n tokens have n - 1 gaps.
        tokens = end - begin - (end == self._last) if self._tokens is None else sum(self._tokens[begin:end])
        if self._sent and tokens:
            _observe(self._numbers, self._times + _GAP, (at - self._sent) // tokens, tokens)
            self._sent = at
        elif not self._sent:
            _observe(self._numbers, self._times + _FIRST, at)
            if tokens > 1:
                _observe(self._numbers, self._times + _GAP, 0, tokens - 1)
            self._sent = at

    def ended(self, size: int, at: int, is_whole: bool) -> None:
        """See Follower."""
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
