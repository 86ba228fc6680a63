"""JSON that is noticed when it is damaged: a checksum in the object, and no more than JSON allows.

`seal` adds `crc32`, which `unseal` compares: a flipped bit in a number still parses. The sum is
over the content in one canonical form, so that white space and the order of keys are free.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
import zlib
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

KEY = "crc32"
_T = TypeVar("_T")


def loads(content: bytes | str) -> Any:
    """Parse JSON. Raises `ValueError` for anything else, and for what Python takes beyond it:
    a key that is there twice, NaN, Infinity, a number too large for a float or for 64 bits."""
    try:
        return json.loads(
            content,
            object_pairs_hook=_unique,
            parse_constant=_not_a_number,
            parse_float=_finite,
            parse_int=_of_64_bits,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def seal(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return `fields` with their checksum. Raises `ValueError` for a number that is not finite."""
    return {**fields, KEY: _crc32(fields)}


def unseal(raw: Any) -> dict[str, Any]:
    """Return the fields without their checksum, which may be missing. Raises `ValueError` if it is
    not theirs."""
    if not isinstance(raw, dict):
        raise ValueError(f"expected an object, found a {type(raw).__name__}")
    fields = {key: value for key, value in raw.items() if key != KEY}
    if KEY in raw and raw[KEY] != _crc32(fields):
        raise ValueError(f"its checksum is not {_crc32(fields)}")
    return fields


def is_sealed(raw: Mapping[str, Any]) -> bool:
    """Whether the object holds a checksum."""
    return KEY in raw


def _crc32(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key is there twice")
    return made


def _not_a_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _of_64_bits(text: str) -> int:
    value = int(text)
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"{text[:20]}... is too large")
    return value


def build(cls: type[_T], raw: Any, where: str = "") -> _T:
    """Make an object of the dataclass `cls` from parsed JSON, nested ones included (by their
    `from_dict` if they have one). Raises `ValueError` that names a missing, unknown or mistyped
    key."""
    kind: type = cls
    hints, required = _fields(kind)
    if not isinstance(raw, dict):
        raise ValueError(f"{where or cls.__name__}: expected an object")
    odd = sorted((required - set(raw)) | (set(raw) - set(hints)))
    if odd:
        raise ValueError(f"{where or cls.__name__}: missing or unknown keys: {', '.join(odd)}")
    path = f"{where}." if where else ""
    return cls(**{name: _value(hints[name], raw[name], path + name) for name in raw})


@functools.cache
def _fields(cls: type) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of a dataclass' fields, and the names of those without a default. They are kept,
    since finding them takes longer than building an object."""
    required = frozenset(
        f.name
        for f in dataclasses.fields(cls)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    return get_type_hints(cls), required


def _value(hint: Any, value: Any, where: str) -> Any:
    """Convert `value` to the type `hint`. A bool is no number, but a whole number is a float.
    Raises `ValueError` with `where` in it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        hint = next(kind for kind in arguments if kind is not type(None))
        return _value(hint, value, where)
    if origin is tuple and isinstance(value, list | tuple):
        if set(map(type, value)) == {arguments[0]}:  # a curve's numbers: at once
            return tuple(value)
        return tuple(_value(arguments[0], item, where) for item in value)
    if origin is list and isinstance(value, list):
        return [_value(arguments[0], item, where) for item in value]
    if origin is dict and isinstance(value, dict):
        return {key: _value(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is None and hasattr(hint, "from_dict"):
        return hint.from_dict(value)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    if hint is float and type(value) is int and abs(value) < 2**53:
        return value  # JSON has one kind of number; the axes' whole ones stay whole
    if isinstance(hint, type) and type(value) is hint:
        return value
    expected = getattr(hint, "__name__", str(hint))
    raise ValueError(f"{where} is a {type(value).__name__}, expected {expected}")
