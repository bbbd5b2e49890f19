"""One figure: what is compared, its budget, and what was measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of one case each time: instructions by seed, and seconds of wall time."""

    instructions: tuple[float, ...]
    seconds: float

    def __sub__(self, other: Cost) -> Cost:
        pairs = zip(self.instructions, other.instructions, strict=True)
        left = tuple(mine - theirs for mine, theirs in pairs)
        return Cost(instructions=left, seconds=max(self.seconds - other.seconds, 0.0))

    def __add__(self, other: Cost) -> Cost:
        pairs = zip(self.instructions, other.instructions, strict=True)
        both = tuple(mine + theirs for mine, theirs in pairs)
        return Cost(instructions=both, seconds=self.seconds + other.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A cost against its bare baseline. Without a budget it is only reported."""

    what: str
    against: str
    budget: float | None
    bare: Cost
    cost: Cost

    @property
    def by_seed(self) -> list[float]:
        pairs = zip(self.cost.instructions, self.bare.instructions, strict=True)
        return [cost / bare for cost, bare in pairs]

    @property
    def value(self) -> float:
        return median(self.by_seed)

    @property
    def is_over(self) -> bool:
        return self.budget is not None and max(self.by_seed) > self.budget

    def as_json(self) -> dict[str, Any]:
        """Everything, for a program to read."""
        figures = {"ratio": self.value, "by_seed": self.by_seed, "over": self.is_over}
        return {**asdict(self), **figures}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """A span of time, in milliseconds, over many tries. The budget is for the median."""

    what: str
    against: str
    budget: float | None
    milliseconds: tuple[float, ...]

    @property
    def value(self) -> float:
        return median(self.milliseconds)

    @property
    def is_over(self) -> bool:
        return self.budget is not None and self.value > self.budget

    def as_json(self) -> dict[str, Any]:
        """Everything, for a program to read."""
        return {**asdict(self), "median": self.value, "over": self.is_over}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A number with a goal: at least so much, or `at_most`. Without a goal it is only reported."""

    what: str
    against: str
    value: float
    goal: float | None
    at_most: bool = False
    unit: str = ""
    #: What it was made of, for the end of the line.
    rest: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the goal is missed."""
        if self.goal is None:
            return False
        return self.value > self.goal if self.at_most else self.value < self.goal

    def as_json(self) -> dict[str, Any]:
        """Everything, for a program to read."""
        return {**asdict(self), "over": self.is_over}


Figure = Ratio | Delay | Measured
