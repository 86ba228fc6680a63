"""How numbers, times and counts are written for people."""

from __future__ import annotations


def one_line(value: object) -> str:
    """`value` as text without line breaks or control characters: it may come from a file name or
    an exception, and goes to terminals too."""
    printable = (c if c.isprintable() else " " for c in str(value))
    return " ".join("".join(printable).split())


def sentence(text: str) -> str:
    """`text` with a capital letter; a setting at its beginning stays as it is written."""
    return text if "=" in text.split(" ")[0] else f"{text[:1].upper()}{text[1:]}"


def duration(seconds: float) -> str:
    """Seconds in the unit that fits: `94.3 s` (below two minutes), `11.2 min`, `1.25 h` or `3.1
    days`."""
    if seconds < 119.95:  # 119.95 would be written as 120.0 s
        return f"{seconds:.1f} s"
    if seconds < 59.95 * 60:
        return f"{seconds / 60:.1f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.2f} h"
    return f"{seconds / 86400:.1f} days"


def storage(size_bytes: float) -> str:
    """Bytes in decimal units, as disks are sold: `20.1 MB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes:.0f} bytes"


def share(part: float) -> str:
    """A share, 0 to 1, as `94.1%`; something is never written as nothing."""
    return "< 0.1%" if 0 < part < 0.0005 else f"{part:.1%}"


def counted(count: int, noun: str) -> str:
    """A number with its noun: `1 thread`, `2 threads`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


MOST_PERPLEXITY = 1e12
"""Of what is written out: the exponential of a loss of hundreds of nats has hundreds of digits."""


def perplexity(value: float) -> str:
    """A perplexity with as many digits as a loss of four decimals gives it: `238.59`, `1,531.3`;
    `> 1e12` of more."""
    if value > MOST_PERPLEXITY:
        return f"> {MOST_PERPLEXITY:.0e}".replace("+", "")
    decimals = 2 if value < 1000 else 1 if value < 10_000 else 0
    return f"{value:,.{decimals}f}"


def improvement(fall: float) -> str:
    """The fall of a perplexity as a share: `12.3%`, and `< -1,000,000%` of a rise beyond that."""
    return f"{fall:.1%}" if fall > -1e4 else "< -1,000,000%"


def p_value(p: float) -> str:
    """A p-value with two digits: `0.034`, `< 0.0001`."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def times(count: int) -> str:
    """How often: `once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def yes_no(value: bool) -> str:
    """A truth value as `yes` or `no`."""
    return "yes" if value else "no"


def day_and_time(iso: str) -> str:
    """An ISO 8601 time in UTC to the minute: `2026-11-22 17:30 UTC`."""
    return f"{one_line(iso)[:16].replace('T', ' ')} UTC"
