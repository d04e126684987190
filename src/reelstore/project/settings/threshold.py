"""What a metric must be."""

import math
import operator
import re
from dataclasses import dataclass

_THRESHOLD = re.compile(r"(<|<=|>|>=)\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?)")


@dataclass(frozen=True)
class Threshold:
    """What a metric must be, such as `>= 0.1`."""

    operator: str
    value: float

    @classmethod
    def parse(cls, text: str) -> "Threshold":
        """From `<`, `<=`, `>` or `>=` and a number; ValueError where it is something else."""
        found = _THRESHOLD.fullmatch(text.strip())
        if found is None or not math.isfinite(float(found[2])):
            raise ValueError("must be <, <=, > or >= and a number, such as '>= 0.1'")
        return cls(found[1], float(found[2]))

    def holds(self, value: float) -> bool:
        """Whether a value is as it must be."""
        compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
        return bool(compare[self.operator](value, self.value))

    def __str__(self) -> str:
        return f"{self.operator} {self.value:g}"
