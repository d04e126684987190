"""What a metric must be."""

import math
import operator
import re
from dataclasses import dataclass

from reelstore.errors import ParamsError
from reelstore.settings import shown

_THRESHOLD = re.compile(r"(<|<=|>|>=)\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?)")


@dataclass(frozen=True)
class Threshold:
    """What a metric must be, such as `>= 0.1`."""

    operator: str
    value: float

    @classmethod
    def parse(cls, text: str, *, name: str = "a threshold", key: str = "") -> "Threshold":
        """From `<`, `<=`, `>` or `>=` and a number."""
        found = _THRESHOLD.fullmatch(text.strip())
        if found is None or not math.isfinite(float(found[2])):
            raise ParamsError(
                f"{name} is {shown(text)}; it must be <, <=, > or >= and a number, such as '>= 0.1'.", key=key
            )
        return cls(found[1], float(found[2]))

    def holds(self, value: float) -> bool:
        """Whether a value is as it must be."""
        compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
        return bool(compare[self.operator](value, self.value))

    def __str__(self) -> str:
        return f"{self.operator} {self.value:g}"
