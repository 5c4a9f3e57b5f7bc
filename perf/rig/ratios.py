"""Medians over rounds, and ratios taken within each round before the median is."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """A median with the lowest and the highest round."""

    median: float
    low: float
    high: float
    rounds: int

    def to_json(self):
        return {"median": self.median, "min": self.low, "max": self.high, "rounds": self.rounds}


def spread(values):
    values = [value for value in values if value is not None]
    return Spread(median(values), min(values), max(values), len(values)) if values else None


class Figures:
    """All legs of a session, looked up by scenario, label and figure."""

    def __init__(self, legs):
        self._legs = legs

    def labels(self, scenario):
        found = []
        for leg in self._legs:
            if leg["scenario"] == scenario and leg["label"] not in found:
                found.append(leg["label"])
        return found

    def by_round(self, scenario, label, figure):
        return {
            leg["round"]: leg["figures"][figure]
            for leg in self._legs
            if leg["scenario"] == scenario and leg["label"] == label and leg["figures"].get(figure) is not None
        }

    def value(self, scenario, label, figure):
        return spread(self.by_round(scenario, label, figure).values())

    def ratio(self, scenario, label, other, figure, other_scenario=None):
        """`label` over `other`, round by round."""
        above = self.by_round(scenario, label, figure)
        below = self.by_round(other_scenario or scenario, other, figure)
        return spread(above[number] / below[number] for number in above if below.get(number))

    def failed(self, scenario, label):
        return sum(self.by_round(scenario, label, "failed").values())

    def failures(self):
        """Every leg that has failed requests."""
        return [leg for leg in self._legs if leg["figures"].get("failed")]
