"""Emoji -> groups of near-duplicates.

Gender, role, direction, family, hair, age, skin tone, colour, size and shades of one face don't tell two clips apart.
"""

import re
from collections.abc import Mapping, Sequence

SKIN_TONES = frozenset(["1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"])
_IGNORED = SKIN_TONES | {"fe0f", "200d", "2640", "2642", "27a1", "2b05"}
_ADULTS = {"1f468": "person", "1f469": "person", "1f9d1": "person"}
_HAIR = frozenset(["1f9b0", "1f9b1", "1f9b2", "1f9b3"])
_NO_GENDER = ("man", "men", "woman", "women", "person", "people", "boy", "girl", "child", "mr", "mrs", "mx")
_GENDERED = {
    **dict.fromkeys(_NO_GENDER, ""),
    **dict.fromkeys(["merman", "mermaid"], "merperson"),
    **dict.fromkeys(["prince", "princess", "king", "queen"], "royal"),
    **{"santa": "claus", "gentleman": "adult", "lady": "adult", "old": "", "older": ""},
}
_DIRECTIONS = frozenset(
    {"left", "right", "up", "down", "leftwards", "rightwards", "front", "facing", "oncoming", "pointing"}
    | {"north", "south", "east", "west"}
)
_LOOKS = frozenset(
    {"red", "orange", "yellow", "green", "blue", "purple", "brown", "black", "white", "pink", "grey"}
    | {"small", "medium", "large", "big"}
)
_SHADES = re.compile(r"\blight blue\b|\bslightly\b| with (big|smiling|closed) eyes$| with tear$| without .*")
_FAMILIES = ("family", "couple with heart", "kiss:", "holding hands")
_CLOCK = re.compile(r"(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)(-thirty| o.clock)")
_MOON = re.compile(r"\b(waxing|waning|first quarter|last quarter|full|new)\b.*\bmoon\b")


def near_duplicate_groups(labels: Mapping[str, str]) -> dict[str, str]:
    """The group of each emoji; apart from such differences, one group has one label or code points.

    Args:
        labels: hexcode in lower case (`1f468-200d-1f373`) -> label in English (`man cook`).

    Returns:
        hexcode -> name of its group, which is the smallest hexcode in it.

    Example:
        >>> near_duplicate_groups({"1f468-200d-1f373": "man cook", "1f9d1-200d-1f373": "cook", "1f408": "cat"})
        {'1f468-200d-1f373': '1f468-200d-1f373', '1f9d1-200d-1f373': '1f468-200d-1f373', '1f408': '1f408'}
    """
    parents = {hexcode: hexcode for hexcode in labels}

    def root(hexcode: str) -> str:
        while parents[hexcode] != hexcode:
            hexcode = parents[hexcode]
        return hexcode

    first: dict[str, str] = {}
    for hexcode in sorted(labels):
        for key in (f"code {_code_key(hexcode)}", f"label {_label_key(labels[hexcode])}"):
            if key in first:
                low, high = sorted([root(first[key]), root(hexcode)])
                parents[high] = low
            else:
                first[key] = hexcode
    return {hexcode: root(hexcode) for hexcode in labels}


def _code_key(hexcode: str) -> str:
    codes: Sequence[str] = [_ADULTS.get(code, code) for code in hexcode.split("-") if code not in _IGNORED]
    if len(codes) == 2 and codes[0] == "person" and codes[1] in _HAIR:
        codes = ["person"]  # a face with other hair is still that face
    return "-".join(codes)


def _label_key(label: str) -> str:
    label = label.lower()
    if label == "kiss" or any(family in label for family in _FAMILIES):
        return "family"
    if _CLOCK.search(label):
        return "clock"
    if _MOON.search(label):
        return "moon"
    if label.startswith("hourglass"):
        return "hourglass"
    label = _SHADES.sub("", re.sub(r": .*(hair|bald|beard).*", "", label))
    words = [_GENDERED.get(word, word) for word in re.findall(r"[a-z0-9]+", label)]
    kept = [word for word in words if word and word not in _DIRECTIONS]
    plain = [word for word in kept if word not in _LOOKS]
    return " ".join(plain or kept) or "person"
