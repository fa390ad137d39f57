"""Checks telemetry against conventions.toml, the one list of what may be on the wire."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry.sdk.metrics.export import Gauge, Histogram, Sum
from opentelemetry.trace import StatusCode

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

SCOPE = "spanback"
LIST: dict[str, Any] = tomllib.loads(Path(__file__).with_name("conventions.toml").read_text(encoding="utf-8"))

OPERATION = "gen_ai.operation.name"
MODEL = "gen_ai.request.model"
ERROR = "error.type"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
_INT64 = 1 << 63
_KINDS: dict[str, type[Any]] = {"histogram": Histogram, "counter": Sum, "gauge": Gauge}


def _is_texts(value: Any) -> bool:
    return type(value) in (tuple, list) and all(type(one) is str for one in value)


def _is_int(value: Any) -> bool:
    return type(value) is int and -_INT64 <= value < _INT64


# A bool is no int here, an int no double and an enum no string, as in OTLP.
_IS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: type(value) is str,
    "int": _is_int,
    "double": lambda value: type(value) is float,
    "boolean": lambda value: type(value) is bool,
    "string[]": _is_texts,
    "int[]": lambda value: isinstance(value, (tuple, list)) and all(map(_is_int, value)),
    "primitive": lambda value: type(value) in (str, float, bool) or _is_int(value),
    "text or list": lambda value: type(value) in (str, tuple, list),
}


class Rule(NamedTuple):
    """Which attributes something must and may have."""

    required: frozenset[str]
    required_on_success: frozenset[str]
    allowed: frozenset[str]
    kind: str = ""
    event: str = ""

    def joined(self, other: Rule) -> Rule:
        """What must and may have the attributes of both."""
        required = self.required | other.required
        return Rule(required, self.required_on_success | other.required_on_success, self.allowed | other.allowed)


def _rule(entry: Mapping[str, Any]) -> Rule:
    required, on_success = (frozenset(entry.get(name, ())) for name in ("required", "required_on_success"))
    allowed = required | on_success | frozenset(entry.get("allowed", ()))
    return Rule(required, on_success, allowed, entry.get("kind", ""), entry.get("event", ""))


_TYPES: dict[str, Callable[[Any], bool]] = {name: _IS[kind] for name, kind in LIST["attributes"].items()}
_PREFIXES: dict[str, Callable[[Any], bool]] = {name: _IS[kind] for name, kind in LIST["prefixes"].items()}
_SPANS = {operation: _rule(entry) for entry in LIST["spans"].values() for operation in entry.get("operations", ())}
_CARRIER = _rule(LIST["spans"]["feedback"])
_LINK = _rule(LIST["link"])
_EVENTS = {name: _rule(entry) for name, entry in LIST["events"].items()}
_DIMENSIONS = {name: _rule(entry) for name, entry in LIST["dimensions"].items()}


def violations(spans: Iterable[Any] = (), logs: Iterable[Any] = (), metrics: Any = None) -> list[str]:
    """What breaks a rule in the telemetry of the scope "spanback"; that of other scopes is not looked at.

    Args:
        spans: Ended spans, as the SDK exports them.
        logs: Log records with their scope, as the SDK exports them.
        metrics: All metrics, as a reader of the SDK gives them; None for none.
    """
    found: list[str] = []
    for span in spans:
        if span.instrumentation_scope.name == SCOPE:
            found += (f"span {span.name!r}: {what}" for what in _of_span(span))
    for log in logs:
        if log.instrumentation_scope.name == SCOPE:
            found += (f"event {log.log_record.event_name!r}: {what}" for what in _of_log(log.log_record))
    for resource in metrics.resource_metrics if metrics is not None else ():
        for scope in resource.scope_metrics:
            if scope.scope.name == SCOPE:
                found += (f"metric {one.name!r}: {what}" for one in scope.metrics for what in _of_metric(one))
    return found


def _of_span(span: Any) -> Iterator[str]:
    attributes = span.attributes
    is_carrier = OPERATION not in attributes and any(name.startswith("feedback.") for name in attributes)
    rule = _CARRIER if is_carrier else _SPANS.get(attributes.get(OPERATION))
    if rule is None:
        yield f"no operation of the list: {attributes.get(OPERATION)!r}"
        return
    is_error = span.status.status_code is StatusCode.ERROR
    if span.kind.name != rule.kind:
        yield f"kind {span.kind.name} instead of {rule.kind}"
    if (ERROR in attributes) is not is_error:
        yield f"status {span.status.status_code.name} with {ERROR} {attributes.get(ERROR)!r}"
    if is_error and not isinstance(span.status.description, str):
        yield "an error without a description"
    if span.status.status_code is StatusCode.OK:
        yield "status OK, which only an app sets"
    yield from _of_attributes(attributes, rule, is_error=is_error)
    yield from (_of_carrier if is_carrier else _of_call)(span, attributes)


def _of_call(span: Any, attributes: Mapping[str, Any]) -> Iterator[str]:
    operation, model = attributes.get(OPERATION), attributes.get(MODEL)
    if span.name != (operation if model is None else f"{operation} {model}"):
        yield f"not named by operation {operation!r} and model {model!r}"
    if span.events or span.links:
        yield "span events or links, which no call has"
    if span.end_time < span.start_time:
        yield "ends before it starts"


def _of_carrier(span: Any, attributes: Mapping[str, Any]) -> Iterator[str]:
    if span.name != f"feedback {attributes.get('feedback.name')}":
        yield "not named by its signal"
    if span.end_time <= span.start_time:
        yield "lasts no time"
    if [event.name for event in span.events] != [_CARRIER.event]:
        yield f"events {[event.name for event in span.events]} instead of one {_CARRIER.event}"
    for event in span.events:
        yield from _of_attributes(event.attributes or {}, _EVENTS[_CARRIER.event])
    relations: list[Any] = []
    for link in span.links:
        said = link.attributes or {}
        yield from _of_attributes(said, _LINK)
        relations.append(said.get("feedback.relation"))
    is_resolved, rejected = attributes.get("feedback.target.resolved"), attributes.get("feedback.rejected.span_ids")
    expected = ["rates" if rejected is None else "chosen"] * _has_span(attributes)
    expected += ["rejected"] * sum(map(bool, rejected or ()))
    if relations != expected:
        yield f"links {relations} with feedback.target.resolved {is_resolved}"
    if relations == ["rates"]:
        rated = span.links[0].context
        ids = f"{rated.trace_id:032x}", f"{rated.span_id:016x}"
        if ids != (attributes.get("feedback.target.trace_id"), attributes.get("feedback.target.span_id")):
            yield f"links to {ids} and not to its target"


def _has_span(attributes: Mapping[str, Any]) -> bool:
    """Whether a signal is on a span; a conversation has none."""
    is_conversation = attributes.get("feedback.target.scope") == "conversation"
    return bool(attributes.get("feedback.target.resolved")) and not is_conversation


def _of_log(record: Any) -> Iterator[str]:
    name = record.event_name
    if name not in _EVENTS:
        yield "no event of the list"
        return
    entry, rule = LIST["events"][name], _EVENTS[name]
    severity = record.severity_number.name if record.severity_number is not None else None
    if (severity, record.severity_text) != (entry["severity"], entry["severity"]):
        yield f"severity {severity} ({record.severity_text}) instead of {entry['severity']}"
    if not record.timestamp:
        yield "no timestamp"
    if record.body is not None and type(record.body) is not str:
        yield "a body that is no text"
    attributes = record.attributes or {}
    is_signal = entry.get("span") == "feedback"
    if not record.span_id and (not is_signal or _has_span(attributes)):
        yield "no span that it belongs to"
    if is_signal:
        rule = rule.joined(_CARRIER)
    elif "span" in entry:
        operation = attributes.get(OPERATION)
        if operation not in LIST["spans"][entry["span"]]["operations"]:
            yield f"of operation {operation!r}"
            return
        rule = rule.joined(_SPANS[operation])
    yield from _of_attributes(attributes, rule, is_error=ERROR in attributes, is_structured=True)


def _of_metric(metric: Any) -> Iterator[str]:
    entry = LIST["metrics"].get(metric.name)
    if entry is None:
        yield "no metric of the list"
        return
    if not isinstance(metric.data, _KINDS[entry["kind"]]) or not getattr(metric.data, "is_monotonic", True):
        yield f"no {entry['kind']}: {type(metric.data).__name__}"
        return
    if metric.unit != entry["unit"]:
        yield f"unit {metric.unit!r} instead of {entry['unit']!r}"
    for point in metric.data.data_points:
        if "buckets" in entry and list(point.explicit_bounds) != LIST["buckets"][entry["buckets"]]:
            yield f"buckets {point.explicit_bounds}"
        if "buckets" not in entry and type(point.value) is not int:
            yield f"counts {point.value!r}"
        yield from _of_attributes(point.attributes, _DIMENSIONS[entry["of"]])


def _of_attributes(
    attributes: Mapping[str, Any], rule: Rule, *, is_error: bool = False, is_structured: bool = False
) -> Iterator[str]:
    """What is wrong in the attributes of a span, an event, a link or a data point."""
    missing = rule.required - attributes.keys()
    if not is_error and ("gen_ai.request.stream" not in attributes or FIRST_CHUNK in attributes):
        missing |= rule.required_on_success - attributes.keys()
    for name in sorted(missing):
        yield f"without the required {name}"
    for name, value in attributes.items():
        yield from _of_attribute(name, value, rule, is_structured=is_structured)
    for name, needed in LIST["needs"].items():
        if name in attributes and needed not in attributes:
            yield f"{name} without {needed}"
    for total, parts in LIST["totals"].items():
        counts = [attributes[part] for part in parts if type(attributes.get(part)) is int]
        whole = attributes.get(total)
        if type(whole) is int and sum(counts) > whole:
            yield f"{total} is {whole}, which does not include {counts}"


def _of_attribute(name: str, value: Any, rule: Rule, *, is_structured: bool) -> Iterator[str]:
    is_typed, listed = _TYPES.get(name), name
    if is_typed is None:
        listed = next((prefix for prefix in _PREFIXES if name.startswith(prefix) and name != prefix), "")
        is_typed = _PREFIXES.get(listed)
    if is_typed is None:
        yield f"unknown name {name}"
    elif listed not in rule.allowed:
        yield f"{name} has no place here"
    elif not is_typed(value):
        yield f"{name} is no {LIST['attributes'].get(name) or LIST['prefixes'][listed]}: {value!r}"
    elif name in LIST["shapes"]:
        yield from (f"{name}{what}" for what in _of_content(name, value, is_structured=is_structured))
    elif value not in LIST["values"].get(name, (value,)) or value in LIST["never"].get(name, ()):
        yield f"{name} must not be {value!r}"


def _of_content(name: str, value: Any, *, is_structured: bool) -> Iterator[str]:
    if is_structured is isinstance(value, str):
        yield " is JSON text on an event" if is_structured else " is structured on a span"
        return
    if not is_structured:
        try:
            value = json.loads(value)
        except ValueError:
            yield f" is no JSON: {value[:80]!r}"
            return
    if not isinstance(value, (list, tuple)) or not value:
        yield f" is no list, or empty: {value!r}"
        return
    shape = LIST["shapes"][name]
    for number, entry in enumerate(value):
        yield from (f"[{number}]{what}" for what in _of_entry(entry, LIST["shape"][shape]))
        if shape == "instruction" and isinstance(entry, Mapping) and entry.get("type") != "text":
            yield f"[{number}].type is {entry.get('type')!r}: instructions are text"


def _of_entry(entry: Any, fields: Mapping[str, str], *, more: str | None = None) -> Iterator[str]:
    """What is wrong in an object of JSON that is to have these fields, and perhaps one more text that names it."""
    if not isinstance(entry, Mapping):
        yield f" is no object: {entry!r}"
        return
    for field in entry.keys() - fields.keys() - {more}:
        yield f" has a field {field!r}"
    for field, kind in fields.items():
        if field not in entry:
            if not kind.endswith("?"):
                yield f" lacks {field!r}"
            continue
        yield from (f".{field}{what}" for what in _of_field(field, kind.removesuffix("?"), entry[field]))


def _of_field(field: str, kind: str, value: Any) -> Iterator[str]:
    if kind == "parts" and isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield from (f"[{number}]{what}" for what in _of_part(part))
    elif not _IS_FIELD[kind](value):
        yield f" is no {kind}: {value!r}"
    elif kind == "string" and value not in LIST["content"].get(field, (value,)):
        yield f" must not be {value!r}"


_IS_FIELD: dict[str, Callable[[Any], bool]] = {
    "any": lambda _value: True,
    "string": lambda value: isinstance(value, str),
    "double": lambda value: type(value) in (float, int),  # JSON knows numbers alone
    "id": lambda value: value is None or isinstance(value, str),
    "typed": lambda value: isinstance(value, Mapping) and isinstance(value.get("type"), str),
    "parts": lambda _value: False,
}


def _of_part(part: Any) -> Iterator[str]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(kind, str):
        yield f" has no type: {part!r}"
        return
    yield from (f" ({kind}){what}" for what in _of_entry(part, LIST["part"].get(kind, LIST["generic"]), more="type"))
