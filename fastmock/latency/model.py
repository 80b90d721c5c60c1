"""The latency model: the due time of each token of an answer.

The first token is due after the TTFT, which may grow with the prompt; each further one after its own inter-token
latency: total = TTFT + (n - 1) * ITL for n tokens, streaming or not. Under load everything takes longer by the factor
``1 + (F - 1) * (r - 1) / (S - 1)`` for r answers in flight of S, from 1 to F, evaluated for each token; the formula is
from llm-d-inference-sim.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from random import Random
from statistics import NormalDist
from typing import Protocol

from fastmock.latency.settings import Distribution, Latency

Sampler = Callable[[Random], float]
"""Draws a value from a distribution."""

_GLANCE = 0.1  # seconds of a non-streaming answer's time between evaluations of the load

_UNDRAWN = Random(0)


def sampler(amount: Distribution, samples: Sequence[float] = ()) -> Sampler:
    """Return a sampler for ``amount``; ``samples`` are the contents of its file."""
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
        """Add one."""

    def leave(self) -> None:
        """Remove one."""

    def count(self) -> int:
        """Return the number of answers in flight."""


class Timing:
    """A compiled latency: gives each token its due time.

    Attributes:
        instant: whether streaming answers take no time, and ``instant_whole`` whether non-streaming ones take none.
        draws: whether any value is random, so that ``random`` must be a generator seeded for the request.
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
            latency: the settings of all levels merged; its preset is already applied.
            samples: returns the recorded samples of a distribution.
            chunk_gap: seconds between chunks, used if neither an inter-token latency nor a speed is set.
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
        self._most = (latency.time_factor_under_load or 1.0) - 1 if latency.saturation_concurrency else 0.0
        self._full = (latency.saturation_concurrency or 1) - 1
        self._share = share
        self._uneven = bool(self._most) or amounts[1].varies
        constant = not any(amount.varies or amount.mean for amount in amounts)
        self.instant_whole = constant and not self._prefill
        self.instant = self.instant_whole and not (chunk_gap and self._by_chunk)

    def _stretch(self) -> float:
        """Return the current slowdown under load, in seconds per millisecond."""
        if not self._most:
            return 0.001
        share = (self._share.count() - 1) / self._full if self._full else 1.0
        return 0.001 * (1 + self._most * min(1.0, max(0.0, share)))

    def _drawer(self, random: Random) -> Sampler:
        """Return a sampler of the inter-token latency of one answer, in milliseconds."""
        if self._itl is not None:
            return self._itl
        if self._speed is not None:
            gap = 1000 / max(self._speed(random), 0.001)
            return lambda random: gap
        return lambda random: self._gap

    def steps(self, steps: Sequence[int], prompt_tokens: int, random: Random | None) -> Iterator[float]:
        """Yield the due time of each step of a stream, in seconds after its start: that of its first token.

        Args:
            steps: the number of tokens in each step. A step of no tokens, such as the final one, is due with the token
                before it.
            prompt_tokens: the number of tokens in the prompt.
            random: the generator for this answer; None if nothing is random.
        """
        random = random or _UNDRAWN
        self._share.enter()
        try:
            draw = self._drawer(random)
            due = self._first(prompt_tokens, random)
            before = 0  # number of tokens in the step before
            even = 0.0 if self._uneven else draw(random) * 0.001
            for tokens in steps:
                gaps = before if tokens or not before else before - 1
                if even:
                    due += gaps * even  # saves a draw and a look at the load: 0.4 µs a step
                else:
                    for _ in range(gaps):
                        due += draw(random) * self._stretch()
                yield due
                before = 1 if self._by_chunk and tokens else tokens
        finally:  # also when the client disconnects
            self._share.leave()

    def pause(self, tokens: int, prompt_tokens: int, random: Random | None) -> Iterator[float]:
        """Yield the times at which to evaluate the load for a non-streaming answer of ``tokens`` tokens, and finally
        its due time.
        """
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
