"""The latency model: when each token of an answer is due.

The first token is due after the TTFT, which may grow with the prompt; each further one after an inter-token latency of
its own: total = TTFT + (n - 1) * ITL for n tokens, streamed or whole. Under load everything takes longer by the factor
``1 + (F - 1) * (r - 1) / (S - 1)`` for r answers in flight of S, from 1 to F, looked up anew for each token; the
formula is llm-d-inference-sim's.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from random import Random
from statistics import NormalDist
from typing import Protocol

from fastmock.latency.settings import Distribution, Latency

Sampler = Callable[[Random], float]
"""Draws an amount."""

_GLANCE = 0.1  # seconds of a whole answer's time between looks at the load

_UNDRAWN = Random(0)


def sampler(amount: Distribution, samples: Sequence[float] = ()) -> Sampler:
    """Return what draws from ``amount``; ``samples`` are what its file holds."""
    if amount.file is not None:
        return lambda random: random.choice(samples)
    mean, std = amount.mean or 0.0, amount.std or 0.0
    low, high = amount.bounds()
    if amount.distribution == "constant" or (amount.distribution == "normal" and not std):
        return lambda random: mean
    if amount.distribution == "uniform":
        return lambda random: random.uniform(low, high)
    if amount.distribution == "normal":
        normal = NormalDist(mean, std)
        below, above = normal.cdf(low), normal.cdf(high)

        def truncated(random: Random) -> float:
            share = below + (above - below) * random.random()
            return min(high, max(low, normal.inv_cdf(max(share, 1e-300))))

        return truncated
    spread = (std / mean) ** 2
    if amount.distribution == "lognormal":
        sigma = math.sqrt(math.log1p(spread))
        mu = math.log(mean) - sigma * sigma / 2
        return lambda random: random.lognormvariate(mu, sigma)
    return lambda random: random.gammavariate(1 / spread, mean * spread)


class Load(Protocol):
    """Counts the answers in flight."""

    def enter(self) -> None:
        """Count one more."""

    def leave(self) -> None:
        """Count one less."""

    def in_flight(self) -> int:
        """Return how many there are."""


class Timing:
    """A compiled latency: gives each token its due time.

    Attributes:
        instant: whether nothing takes any time, and ``instant_whole`` whether whole answers take none.
        draws: whether anything is drawn, so that ``random`` must be a generator of the request's own.
    """

    def __init__(
        self,
        latency: Latency,
        samples: Callable[[Distribution], Sequence[float]],
        chunk_gap: float,
        share: Load,
    ) -> None:
        """Compile a latency.

        Args:
            latency: what was given on all levels, laid over each other; its preset is not looked at.
            samples: returns the recorded samples of an amount.
            chunk_gap: seconds between chunks, where neither an inter-token latency nor a speed is given.
            share: counts the answers in flight.
        """
        zero = Distribution(mean=0.0)

        def compiled(amount: Distribution | None) -> Sampler | None:
            return None if amount is None else sampler(amount, samples(amount))

        amounts = [latency.ttft or zero, latency.itl or zero, latency.tokens_per_second or zero]
        self.draws = any(amount.varies for amount in amounts)
        self._ttft = compiled(latency.ttft or zero)
        self._itl = compiled(latency.itl)
        self._speed = compiled(latency.tokens_per_second)
        self._prefill = latency.prefill_ms_per_token or 0.0
        self._gap = chunk_gap * 1000
        self._by_chunk = self._itl is None and self._speed is None
        self._most = (latency.time_factor_under_load or 1.0) - 1 if latency.max_concurrent else 0.0
        self._full = (latency.max_concurrent or 1) - 1
        self._share = share
        self._uneven = bool(self._most) or amounts[1].varies
        constant = not any(amount.varies or amount.mean for amount in amounts)
        self.instant_whole = constant and not self._prefill
        self.instant = self.instant_whole and not (chunk_gap and self._by_chunk)

    def _stretch(self) -> float:
        """Return by how much everything takes longer now, in seconds for a millisecond."""
        if not self._most:
            return 0.001
        share = (self._share.in_flight() - 1) / self._full if self._full else 1.0
        return 0.001 * (1 + self._most * min(1.0, max(0.0, share)))

    def _drawer(self, random: Random) -> Sampler:
        """Return what draws the latency between two tokens of one answer, in milliseconds."""
        if self._itl is not None:
            return self._itl
        if self._speed is not None:
            gap = 1000 / max(self._speed(random), 0.001)
            return lambda random: gap
        return lambda random: self._gap

    def steps(self, steps: Sequence[int], prompt_tokens: int, random: Random | None) -> Iterator[float]:
        """Yield when each step of a stream is due, in seconds after its start: with the first of its tokens.

        Args:
            steps: the tokens of each. One of no tokens, such as the last, which says that this was all, is due when the
                token before it is.
            prompt_tokens: tokens of the prompt.
            random: draws for this answer; None where nothing is drawn.
        """
        random = random or _UNDRAWN
        self._share.enter()
        try:
            draw = self._drawer(random)
            due = self._first(prompt_tokens, random)
            before = 0  # tokens of the step before
            even = 0.0 if self._uneven else draw(random) * 0.001
            for tokens in steps:
                gaps = before if tokens or not before else before - 1
                if even:
                    due += gaps * even  # instead of a draw and a look at the load: 0.4 µs a step
                else:
                    for _ in range(gaps):
                        due += draw(random) * self._stretch()
                yield due
                before = 1 if self._by_chunk and tokens else tokens
        finally:  # also where the client hung up
            self._share.leave()

    def pause(self, tokens: int, prompt_tokens: int, random: Random | None) -> Iterator[float]:
        """Yield when to look again at a whole answer of so many tokens, and at last when it is due."""
        random = random or _UNDRAWN
        self._share.enter()
        try:
            draw = self._drawer(random)
            due = self._first(prompt_tokens, random)
            gaps = 0 if self._by_chunk else max(tokens - 1, 0)
            if self._uneven:
                glance = due + _GLANCE
                for _ in range(gaps):
                    due += draw(random) * self._stretch()
                    if self._most and due >= glance:
                        yield due
                        glance = due + _GLANCE
            else:
                due += gaps * draw(random) * 0.001
            yield due
        finally:
            self._share.leave()

    def _first(self, prompt_tokens: int, random: Random) -> float:
        ttft = self._ttft(random) if self._ttft else 0.0
        return (ttft + self._prefill * prompt_tokens) * self._stretch()
