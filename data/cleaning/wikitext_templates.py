"""Templates of MediaWiki that stand for text: what is read where one is used.

Most templates are references, boxes, notices and the like, which are no prose; those in the tables
here are words of a sentence. As in MediaWiki, parameters are called "1", "2", ... or by name.
Conventions as documented at https://en.wikipedia.org/wiki/Wikipedia:Template_index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

Parameters = Mapping[str, str]


def _names(text: str) -> frozenset[str]:
    return frozenset(name.replace("_", " ") for name in text.split())


_FIRST = _names(
    "abbr abbrv big block_indent blockquote centre center chem2 cquote crossreference crossref em "
    "flag flagcountry flagu format_price formatnum: formatprice huge ill "
    "interlanguage_link iw kbd key_press keypress large larger literal mono mvar nihongo "
    "no_bold no_italic nobold nobr noitalic normal not_a_typo notatypo nowrap nwr poemquote "
    "pull_quote quotation quote resize sc small small_caps smallcaps smaller strong sub "
    "sup tooltip tt underline unicode var vanchor visible_anchor vr xt"
)
"""They stand for their first parameter, which quotations may call `text` or `quote`."""
_LAST = _names(
    "color colour font_color font_colour lang langx script transl translit transliteration w wikt"
)
"""They stand for their last numbered parameter; so do those called `lang-fr` and the like."""
_MARKS = {
    "ndash": "\u2013",
    "en dash": "\u2013",
    "mdash": "\u2014",
    "em dash": "\u2014",
    "snd": " \u2013 ",
    "spaced ndash": " \u2013 ",
    "spaced en dash": " \u2013 ",
    "spnd": " \u2013 ",
    "'": "'",
    "'s": "'s",
    "nbsp": " ",
    "space": " ",
    "spaces": " ",
    "thin space": " ",
    "thinsp": " ",
    "\u00b7": " \u00b7 ",
    "dot": " \u00b7 ",
    "middot": " \u00b7 ",
    "\u2022": " \u2022 ",
    "bull": " \u2022 ",
    "bullet": " \u2022 ",
    "!": "|",
    "pipe": "|",
    "=": "=",
}
_BEFORE = {
    "us$": "US$",
    "usd": "US$",
    "a$": "A$",
    "aud": "A$",
    "c$": "C$",
    "cad": "C$",
    "gbp": "\u00a3",
    "\u00a3": "\u00a3",
    "pound sterling": "\u00a3",
    "eur": "\u20ac",
    "\u20ac": "\u20ac",
    "euro": "\u20ac",
    "jpy": "\u00a5",
    "\u00a5": "\u00a5",
    "inr": "\u20b9",
    "\u20b9": "\u20b9",
    "circa": "c. ",
    "c.": "c. ",
    "floruit": "fl. ",
    "fl.": "fl. ",
}
"""They write a sign or a word before each of their numbered parameters, with a dash between two."""
_SHIPS = _names("hms uss ss rms mv ms hmas hmcs hmnzs ins usns uscgc rfa")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
_RANGES = {"-": "\u2013", "\u2013": "\u2013", "to": " to ", "and": " and ", "or": " or "}
_RANGES |= {"by": " by ", "x": " \u00d7 ", "\u00d7": " \u00d7 ", "+/-": " \u00b1 "}
_ACCIDENTALS = {"sharp": "\u266f", "#": "\u266f", "flat": "\u266d", "b": "\u266d"}
_ACCIDENTALS |= {"natural": "\u266e"}


def _numbered(given: Parameters) -> list[str]:
    """The parameters called 1, 2, ..., as far as there are any."""
    found: list[str] = []
    while (value := given.get(str(len(found) + 1))) is not None:
        found.append(value)
    return found


def _convert(given: Parameters) -> str:
    """A measure as it was put in; the other unit, which MediaWiki computes, is left out."""
    match _numbered(given):
        case [first, mark, second, unit, *_] if mark.strip() in _RANGES:
            return f"{first}{_RANGES[mark.strip()]}{second} {unit}"
        case [first, unit, *_]:
            return f"{first} {unit}"
    return ""


def _as_of(given: Parameters) -> str:
    if given.get("alt"):
        return given["alt"]
    date = [part.strip() for part in _numbered(given)[:3] if part.strip()]
    if len(date) > 1 and date[1].isdecimal() and 1 <= int(date[1]) <= 12:
        date[1] = _MONTHS[int(date[1]) - 1]
    if len(date) == 3 and given.get("df", "").lower() == "us":
        shown = f"{date[1]} {date[2]}, {date[0]}"
    else:
        shown = " ".join(reversed(date))
    word = "Since" if given.get("since") else "As of"
    return f"{word.lower() if given.get('lc') else word} {shown}"


def _fraction(given: Parameters) -> str:
    match _numbered(given):
        case [lower]:
            return f"1/{lower}"
        case [upper, lower]:
            return f"{upper}/{lower}"
        case [whole, upper, lower, *_]:
            return f"{whole} {upper}/{lower}"
    return ""


def _value(given: Parameters) -> str:
    unit = given.get("u") or given.get("ul") or ""
    error = given.get("2", "")
    number = given.get("1", "") + (error if error.startswith("(") else "")
    return f"{number} {unit}".strip()


_MADE: dict[str, Callable[[Parameters], str]] = {
    "convert": _convert,
    "cvt": _convert,
    "as of": _as_of,
    "frac": _fraction,
    "fraction": _fraction,
    "sfrac": _fraction,
    "val": _value,
    "chem": lambda given: "".join(_numbered(given)),
    "ship": lambda given: " ".join(part for part in _numbered(given)[:2] if part),
    "angbr": lambda given: f"\u27e8{given.get('1', '')}\u27e9",
    "angle bracket": lambda given: f"\u27e8{given.get('1', '')}\u27e9",
    "gloss": lambda given: f"'{given.get('1', '')}'",
    "literal translation": lambda given: f"lit. '{given.get('1', '')}'",
    "lit": lambda given: f"lit. '{given.get('1', '')}'",
    "sic": lambda given: f"{given.get('1', '')} [sic]".strip(),
    "music": lambda given: _ACCIDENTALS.get(given.get("1", "").strip().lower(), ""),
    "reign": lambda given: "r. " + "\u2013".join(_numbered(given)),
    "r.": lambda given: "r. " + "\u2013".join(_numbered(given)),
    "lc:": lambda given: given.get("1", "").lower(),
    "uc:": lambda given: given.get("1", "").upper(),
    "lcfirst:": lambda given: given.get("1", "")[:1].lower() + given.get("1", "")[1:],
    "ucfirst:": lambda given: given.get("1", "")[:1].upper() + given.get("1", "")[1:],
}
FUNCTIONS = frozenset({"formatnum:", "lc:", "uc:", "lcfirst:", "ucfirst:"})
"""MediaWiki's own functions, whose first parameter stands after a colon: `{{formatnum:1234}}`."""


def stands_for_text(name: str) -> bool:
    """Whether a template of this name, in small letters, stands for text."""
    name = name.replace("_", " ")
    return (
        name in _FIRST
        or name in _LAST
        or name in _MARKS
        or name in _BEFORE
        or name in _MADE
        or name in _SHIPS
        or name.startswith("lang-")
        or name.partition(":")[0] + ":" in FUNCTIONS
    )


def template_text(name: str, given: Parameters) -> str:
    """The text that a template stands for; "" for one that stands for none."""
    name = name.replace("_", " ")
    if name in _MARKS:
        return _MARKS[name]
    if name in _MADE:
        return _MADE[name](given)
    if name in _FIRST:
        return given.get("1") or given.get("text") or given.get("quote") or ""
    numbered = _numbered(given)
    if name in _LAST or name.startswith("lang-"):
        return numbered[-1] if numbered else given.get("text", "")
    if name in _BEFORE:
        return " \u2013 ".join(_BEFORE[name] + each for each in numbered[:2])
    if name in _SHIPS and numbered:
        return f"{name.upper()} {numbered[0]}"
    return ""
