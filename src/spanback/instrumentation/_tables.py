"""Tables of fields: which key of a request body, or which path in a response, becomes which attribute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce
from typing import Any, Final, NamedTuple

from spanback.instrumentation._adapter import EXTRA, INT_MAX, INT_MIN, Attributes, Body, field_of, text

_MOST_KINDS: Final = 256
_TYPES: Final = frozenset((str, int, float))
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
    count = len(rows)

    def read(body: Body) -> Attributes:
        attributes: Attributes = {}
        if len(body) > count:  # some clients pass all of their parameters on, with an Ellipsis for what is not given
            body = {key: value for key in rows if (value := body.get(key, ...)) is not ...}
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
    and it runs once for every call. There are three forms: for objects that have all of the fields, for dicts, and for
    models of pydantic that lack some, which take long to say so. Whatever none of them can read is read slowly.
    """
    slowly = partial(_read_slowly, [(field, field.key.split(".")) for field in table])
    of_dict = _compiled(table, slowly, _OF_DICT)
    of_model = _compiled(table, slowly, _OF_MODEL)
    lacking: set[type] = set()

    def otherwise(response: Any) -> Attributes:
        kind = type(response)
        if hasattr(kind, EXTRA) and len(lacking) < _MOST_KINDS:
            lacking.add(kind)
        return of_model(response)

    start = ("k = type(o)", "if k is dict: return of_dict(o)", "if k in lacking: return of_model(o)")
    others = {"of_dict": of_dict, "of_model": of_model, "lacking": lacking}
    return _compiled(table, otherwise, _OF_OBJECT, start, others)


class _Access(NamedTuple):
    """How the code of a reader gets at fields.

    Attributes:
        field: The field of a name of what holds it.
        holder: What holds the fields of a value.
        is_other: What is true of a value that it cannot read; None where it finds out by trying.
    """

    field: str
    holder: str
    is_other: str | None = None


_OF_OBJECT: Final = _Access("{of}.{name}", "{of}")
_OF_DICT: Final = _Access("{of}.get('{name}')", "{of}", "type({of}) is not dict")
_OF_MODEL: Final = _Access("{of}.get('{name}')", "{of}.__dict__", f"{{of}}.{EXTRA}")  # its extra fields are elsewhere


def _compiled(
    table: Iterable[Field],
    otherwise: Callable[[Any], Attributes],
    access: _Access,
    start: Iterable[str] = (),
    others: Attributes | None = None,
) -> Callable[[Any], Attributes]:
    """A reader of a table.

    Args:
        table: The rows.
        otherwise: Reads what this one cannot.
        access: How it gets at fields.
        start: Lines of code that it begins with.
        others: What those lines name.
    """
    names: Attributes = {"take": _take, "otherwise": otherwise, **(others or {})}
    lines = ["def read(o):", *(f" {line}" for line in start), " a = {}", " try:"]
    lines += _lines(table, "o", "  ", names, access)
    lines += [" except AttributeError:", "  return otherwise(o)", " return a"]
    exec("\n".join(lines), names)  # noqa: S102 - of keys and numbered names that stand in this package's tables alone
    return names["read"]


def _lines(table: Iterable[Field], of: str, indent: str, names: Attributes, access: _Access) -> Iterator[str]:
    if access.is_other is not None:
        yield f"{indent}if {access.is_other.format(of=of)}: return otherwise(o)"
    holder = access.holder.format(of=of)
    if holder != of:
        yield f"{indent}{of}_in = {holder}"
        holder = f"{of}_in"
    inside: dict[str, list[Field]] = {}
    for key, attribute, kind, with_zero in table:
        head, _, rest = key.partition(".")
        if rest:
            inside.setdefault(head, []).append(Field(rest, attribute, kind, with_zero))
            continue
        number = len(names)
        names[f"n{number}"], names[f"k{number}"] = attribute, kind
        field = access.field.format(of=holder, name=head)
        yield f"{indent}v = {field}" if with_zero else f"{indent}v = {field} or None"
        if kind in _TYPES:
            yield f"{indent}if type(v) is k{number}{_IF_PLAIN.get(kind, '')}: a[n{number}] = v"
            yield f"{indent}elif v is not None: take(a, n{number}, k{number}, v)"
        else:
            yield f"{indent}if v is not None:"
            yield f"{indent} v = k{number}(v)"
            yield f"{indent} if v is not None: a[n{number}] = v"
    for head, fields in inside.items():
        inner = f"{of}_{head}"
        yield f"{indent}{inner} = {access.field.format(of=holder, name=head)}"
        yield f"{indent}if {inner} is not None:"
        yield from _lines(fields, inner, f"{indent} ", names, access)


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
