"""Tables of fields: which key of a request body, or which path in a response, becomes which attribute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce
from typing import Any, Final, NamedTuple

from spanback.instrumentation._adapter import INT_MAX, INT_MIN, Attributes, Body, field_of, text

_IF_PLAIN: Final[dict[Any, str]] = {str: " and v and v.isascii()", int: f" and {INT_MIN} <= v <= {INT_MAX}"}


class Field(NamedTuple):
    """A row of a table: the key in a body or the dotted path in a response, the attribute, and its type.

    Instead of a type it may have a function that makes the attribute's value, or None for no attribute. A zero may
    count as none.
    """

    key: str
    attribute: str
    type: Callable[[Any], Any]
    with_zero: bool = True


def body_reader(*table: Field) -> Callable[[Body], Attributes]:
    """A function that reads the rows of a table from a body; a value of another type sets nothing.

    An int counts as a float where the attribute is one, a bool never counts as a number, and a text of a subclass of
    str (an enum) becomes plain. An int of more than 64 bits sets nothing: OTLP has no form for it. It runs for every
    call, so it enters no function where it can do without.
    """
    rows = {key: (attribute, kind) for key, attribute, kind, _ in table}

    def read(body: Body) -> Attributes:
        attributes: Attributes = {}
        for key, value in body.items():
            row = rows.get(key)
            if row is not None and value is not None:
                attribute, kind = row
                is_plain = type(value) is kind and kind is not str
                if is_plain and (kind is not int or INT_MIN <= value <= INT_MAX):
                    attributes[attribute] = value
                else:
                    _take(attributes, attribute, kind, value)
        return attributes

    return read


def response_reader(*table: Field) -> Callable[[Any], Attributes]:
    """A function that reads the rows of a table from a response, by the same rules.

    It is compiled from the table, as dataclasses compile their methods: straight code costs a third of a loop here,
    and it runs once for every call.
    """
    paths = [(field, field.key.split(".")) for field in table]
    names: dict[str, Any] = {"take": _take, "slowly": partial(_read_slowly, paths)}
    lines = ["def read(o):", " a = {}", " try:", *_lines(table, "o", "  ", names)]
    lines += [" except AttributeError:", "  return slowly(o)", " return a"]
    exec("\n".join(lines), names)  # noqa: S102 - of keys and numbered names that stand in this package's tables alone
    return names["read"]


def _lines(table: Iterable[Field], of: str, indent: str, names: dict[str, Any]) -> Iterator[str]:
    inside: dict[str, list[Field]] = {}
    for key, attribute, kind, with_zero in table:
        head, _, rest = key.partition(".")
        if rest:
            inside.setdefault(head, []).append(Field(rest, attribute, kind, with_zero))
            continue
        number = len(names)
        names[f"n{number}"], names[f"k{number}"] = attribute, kind
        yield f"{indent}v = {of}.{head}" if with_zero else f"{indent}v = {of}.{head} or None"
        yield f"{indent}if type(v) is k{number}{_IF_PLAIN.get(kind, '')}: a[n{number}] = v"
        yield f"{indent}elif v is not None: take(a, n{number}, k{number}, v)"
    for head, fields in inside.items():
        inner = f"{of}_{head}"
        yield f"{indent}{inner} = {of}.{head}"
        yield f"{indent}if {inner} is not None:"
        yield from _lines(fields, inner, f"{indent} ", names)


def _read_slowly(table: Iterable[tuple[Field, list[str]]], response: Any) -> Attributes:
    """Reads dicts, and objects that lack some of the fields."""
    attributes: Attributes = {}
    for (_, attribute, kind, with_zero), path in table:
        value = reduce(field_of, path, response)
        if value is not None and (value or with_zero):
            _take(attributes, attribute, kind, value)
    return attributes


def _take(attributes: Attributes, attribute: str, kind: Callable[[Any], Any], value: Any) -> None:
    converted = _converted(kind, value)
    if converted is not None:
        attributes[attribute] = converted


def _converted(kind: Callable[[Any], Any], value: Any) -> Any:
    """The value as an attribute of a type, or as a function makes it; None where it is of another type."""
    if kind is str:
        return text(value)
    if kind is int or kind is float:
        is_whole = type(value) is int and INT_MIN <= value <= INT_MAX
        return kind(value) if is_whole or (kind is float and type(value) is float) else None
    return kind(value)
