"""Medians and ratios of interleaved rounds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

DISTURBED = 0.05
"""A measurement is disturbed when the process waited more than this share of the time for its core."""

CALM_ENOUGH = 3
"""So many undisturbed rounds are enough to leave the disturbed ones out."""


@dataclass(frozen=True)
class Sample:
    """One measurement: `value` in the row's unit (less is better), `rate` per second where there is one."""

    value: float
    rate: float | None = None
    waited: float = 0.0

    @property
    def disturbed(self) -> bool:
        return self.waited > DISTURBED


@dataclass(frozen=True)
class Spread:
    """A median with the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value; of one or two, their least and greatest are the bounds."""
        if len(values) < 3:
            return cls(statistics.median(values), min(values), max(values))
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(statistics.median(values), low, high)


def calm(*columns: Sequence[Sample | None]) -> list[int]:
    """The rounds in which every column has a sample, without the disturbed ones if enough remain."""
    rounds = range(min(map(len, columns)))
    whole = [i for i in rounds if all(column[i] is not None for column in columns)]
    quiet = [i for i in whole if not any(sample.disturbed for column in columns if (sample := column[i]))]
    return quiet if len(quiet) >= CALM_ENOUGH else whole


def spread(samples: Sequence[Sample | None]) -> Spread | None:
    """The values' median and quartiles, None if there are none."""
    values = [sample.value for i in calm(samples) if (sample := samples[i])]
    return Spread.of(values) if values else None


def median_rate(samples: Sequence[Sample | None]) -> float | None:
    rates = [sample.rate for i in calm(samples) if (sample := samples[i]) and sample.rate is not None]
    return statistics.median(rates) if rates else None


def ratio(base: Sequence[Sample | None], samples: Sequence[Sample | None]) -> Spread | None:
    """How many times less than `base`: each ratio inside its round, so that slow minutes of the machine cancel out."""
    pairs = [(b.value, s.value) for i in calm(base, samples) if (b := base[i]) and (s := samples[i])]
    ratios = [b / s for b, s in pairs if s > 0]
    return Spread.of(ratios) if ratios else None
