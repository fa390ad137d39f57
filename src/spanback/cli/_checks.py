"""What `spanback doctor` looks at, one step after the other."""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import spanback
from spanback import _settings, reading
from spanback._settings import Settings, Way
from spanback.cli import _status
from spanback.errors import SourceError
from spanback.export._probe import Probe, Sent, installed, known_variables
from spanback.reading._traces import TraceStore

State = Literal["ok", "warning", "failed", "skipped"]

CONNECT_TIMEOUT_S: Final = 3.0
CALLS: Final = 20
"""How many rated spans are sent: a sampler that keeps half of them would miss none by luck once in a million times."""

_OLDEST_SDK: Final = (1, 38)
_PROTOCOLS: Final = frozenset({"grpc", "http/protobuf", "http/json"})
_SAMPLERS: Final = frozenset({"always_on", "always_off", "traceidratio"})
_EXPORTERS: Final = frozenset({"otlp", "none"})
_ALIKE: Final = 0.8
ARRIVAL_TIMEOUT_S: Final = 15.0
_SIGNALS: Final = ("traces", "logs", "metrics")
_SPLIT: Final = (
    "Split feedback off before the tail sampler, as collector-config.yaml does: a filter that keeps spans with "
    "feedback.id, straight to the backend; and after the sampler a filter that drops them"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One step.

    Attributes:
        name: What was looked at.
        state: `ok`, `warning`, `failed` or `skipped`.
        detail: What was seen.
        advice: What to change; None where nothing needs to be.
    """

    name: str
    state: State
    detail: str
    advice: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that `spanback doctor --json` prints."""
        return asdict(self)


def check_versions() -> Iterator[Check]:
    """Python, spanback and the SDK."""
    try:
        sdk = version("opentelemetry-sdk")
    except PackageNotFoundError:
        yield Check("versions", "failed", "opentelemetry-sdk is not installed", "pip install opentelemetry-sdk")
        return
    detail = f"Python {platform.python_version()}, spanback {spanback.__version__}, OpenTelemetry SDK {sdk}"
    if tuple(int(part) for part in sdk.split(".")[:2]) < _OLDEST_SDK:
        yield Check("versions", "failed", detail, "pip install --upgrade 'opentelemetry-sdk>=1.38'")
    else:
        yield Check("versions", "ok", detail)


def check_clients() -> Iterator[Check]:
    """The clients that are installed, and whether their functions are where they are expected."""
    targets = [target for target in _status.targets_here() if target.version]
    missing = sorted({target.target for target in targets if target.state == "missing attribute"})
    seen = sorted({f"{target.client} {target.version}" for target in targets})
    if missing:
        advice = "Calls through them are not seen: pip install --upgrade spanback, or use the release before"
        yield Check("clients", "failed", f"not found: {', '.join(missing)}", advice)
    elif seen:
        yield Check("clients", "ok", ", ".join(seen))
    else:
        advice = "Is this the environment that your app runs in? Feedback works without a client too"
        yield Check("clients", "warning", "no client that spanback knows is installed", advice)


def check_variables(settings: Settings) -> Iterator[Check]:
    """The variables that are set: misspelt names, and values that are not understood."""
    variables = _settings.variables_set()
    known = variables_read() | known_variables()
    found = [*_misspelt(variables, known), *_misunderstood(variables)]
    yield from found
    if settings.sdk_disabled:
        yield Check("variables", "failed", "OTEL_SDK_DISABLED switches all telemetry off", "Unset it")
    elif not found:
        names = ", ".join(name for name in variables if name in known) or "none is set: everything is as by default"
        yield Check("variables", "ok", names)


class _Asked(Mapping[str, str]):
    """An empty environment that keeps the names that it is asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def variables_read() -> frozenset[str]:
    """The names of all environment variables that spanback reads."""
    asked = _Asked()
    _settings.from_environment(asked)
    return frozenset(asked.names)


def _misspelt(variables: dict[str, str], known: frozenset[str]) -> Iterator[Check]:
    for name in variables:
        if name not in known and (alike := get_close_matches(name, known, 1, _ALIKE)):
            yield Check("variables", "warning", f"nothing reads {name}", f"Is {alike[0]} meant?")


def _misunderstood(variables: dict[str, str]) -> Iterator[Check]:
    for name, rule in _settings.misread(variables):
        yield Check("variables", "warning", f"{name} is not understood, and counts as not set", f"It may be {rule}")
    for name, value in variables.items():
        text = value.strip()
        if not text:
            continue
        if name.endswith("_PROTOCOL") and text.lower() not in _PROTOCOLS:
            taken = "http/protobuf" if text.lower().startswith("http") else "grpc"
            yield Check("variables", "warning", f"{name}={text} is taken for {taken}", "Say grpc or http/protobuf")
        elif name.endswith("_ENDPOINT") and not _is_address(text):
            # The value is not shown: it may hold a password.
            advice = "It begins with http:// or https://, then host and port"
            yield Check("variables", "warning", f"{name} names no http:// or https:// address", advice)
        elif name == "OTEL_TRACES_SAMPLER" and not _is_sampler(text):
            yield Check("variables", "failed", f"{name}={text} is not installed", "Unset it, or install its package")
    for signal in _SIGNALS:
        variable = f"OTEL_{signal.upper()}_EXPORTER"
        for exporter in filter(None, (part.strip() for part in variables.get(variable, "").split(","))):
            if exporter.lower() not in _EXPORTERS | installed(signal):
                advice = f"Say otlp, {', '.join(sorted(installed(signal)))} or none"
                yield Check("variables", "failed", f"{variable}={exporter} is not installed", advice)


def _is_address(text: str) -> bool:
    """Whether a text is an `http://` or `https://` address whose port, if it names one, can be one."""
    try:
        parts = urlsplit(text)
        is_port = parts.port != 0
    except ValueError:
        return False
    return is_port and parts.scheme in {"http", "https"}


def _is_sampler(name: str) -> bool:
    return name.lower().removeprefix("parentbased_") in _SAMPLERS or name in installed("sampler")


def check_reachable(settings: Settings) -> Iterator[Check]:
    """Whether something listens where telemetry goes, each address once."""
    places: dict[str, list[str]] = {}
    for signal in _SIGNALS:
        shown = _status.shown_way(settings, getattr(settings, signal))
        if shown["endpoint"]:
            places.setdefault(shown["endpoint"], []).append(signal)
    for endpoint, signals in places.items():
        yield _reached(endpoint, ", ".join(signals))
    if not places:
        where = f"to {settings.file} only" if settings.file else "nowhere"
        state: State = "skipped" if settings.file else "failed"
        advice = None if settings.file else "Set OTEL_EXPORTER_OTLP_ENDPOINT, or SPANBACK_FILE for files"
        yield Check("exporter", state, f"telemetry goes {where}", advice)


def _reached(endpoint: str, signals: str) -> Check:
    try:
        parts = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "localhost", port), CONNECT_TIMEOUT_S):
            return Check("exporter", "ok", f"something listens at {endpoint} ({signals})")
    except (OSError, ValueError) as error:
        advice = "Start a collector there, or set OTEL_EXPORTER_OTLP_ENDPOINT to where one is"
        return Check("exporter", "failed", f"nothing answers at {endpoint} ({signals}): {error}", advice)


def check_accepted(settings: Settings, probe: Probe) -> Iterator[Check]:
    """Whether spans, log events and metrics are taken, each by the protocol that is set."""
    ref = probe.call()
    spanback.record_feedback(ref, score=1.0, name="doctor", source="system", placement="linked")
    for signal in _SIGNALS:
        yield _accepted(signal, getattr(settings, signal), probe.send(signal))


def _accepted(signal: str, way: Way, sent: Sent) -> Check:
    name = f"collector: {signal}"
    if sent.state == "unset":
        return Check(name, "skipped", "no OTLP exporter is in force for them")
    if sent.state == "accepted":
        return Check(name, "ok", f"taken by {way.protocol}")
    if sent.state == "refused":
        advice = f"Send to a collector that has a pipeline for {signal}, or set OTEL_{signal.upper()}_EXPORTER=none"
        lost = "; feedback is on spans too, so none is lost" if signal == "logs" else ""
        return Check(name, "warning", sent.reason + lost, advice)
    return Check(name, "failed", f"not taken by {way.protocol}: {sent.reason}", sent.advice)


def check_sampling(settings: Settings) -> Iterator[Check]:
    """What the sampler that the environment names keeps."""
    name = (settings.sampler or "parentbased_always_on").lower()
    share = {"always_on": "every call", "always_off": "no call"}.get(name.removeprefix("parentbased_"))
    argument = settings.sampler_arg or "1.0"
    kept = share or (f"a share of {argument} of the calls" if name.endswith("traceidratio") else f"what {name} decides")
    detail = f"{name} keeps {kept}; feedback is kept in any case"
    if name.endswith("always_off"):
        yield Check("sampling", "warning", detail, "No rated response can be looked up: set OTEL_TRACES_SAMPLER")
    else:
        yield Check("sampling", "ok", detail)


def check_late(probe: Probe, address: str, wait_s: float) -> Iterator[Check]:
    """Whether feedback that comes late gets past whatever samples on the way: sent, and read back.

    Args:
        probe: Sends.
        address: What is asked, such as `jaeger+http://localhost:16686`.
        wait_s: How long after the calls the feedback is given.
    """
    name = f"late feedback: {address.partition('+')[0]}"
    refs = [probe.call() for _ in range(CALLS)]
    probe.send("traces")
    time.sleep(wait_s)
    receipts = [
        spanback.record_feedback(
            ref, score=1.0, name="doctor", source="system", placement="linked" if number % 2 else "child"
        )
        for number, ref in enumerate(refs)
    ]
    if (sent := probe.send("traces")).state != "accepted":
        yield Check(name, "failed", f"it could not be sent: {sent.reason or sent.state}", sent.advice or None)
        return
    carriers = {(receipt.trace_id or "", receipt.span_id or "") for receipt in receipts}
    rated = {(f"{ref.trace_id:032x}", f"{ref.span_id:016x}") for ref in refs}
    try:
        with reading.open(address) as reader:
            there = _arrived(reader, carriers, rated) if isinstance(reader, TraceStore) else set[Any]()
    except SourceError as error:
        yield Check(name, "failed", str(error), "Is this the address of its query API?")
        return
    yield _late(name, len(there & carriers), len(there & rated), wait_s)


def _late(name: str, carriers: int, rated: int, wait_s: float) -> Check:
    late = f"{carriers} of {CALLS} signals arrived that were given {wait_s:g} s after their calls"
    calls = f"{rated} of {CALLS} calls"
    if not carriers and not rated:
        advice = "Does the collector send to this backend? Its log says what becomes of spans"
        return Check(name, "failed", f"nothing arrived of {CALLS} calls and as many signals", advice)
    if carriers < CALLS:
        return Check(name, "failed", f"{late}; {calls}: a sampler on the way drops feedback", _SPLIT)
    sampled = "" if rated == CALLS else ": the rest is sampled out on the way, as may be meant"
    return Check(name, "ok", f"{late}; {calls}{sampled}")


def _arrived(reader: TraceStore, carriers: set[tuple[str, str]], rated: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which spans are there once all feedback is, or `ARRIVAL_TIMEOUT_S` is over."""
    wanted, there = carriers | rated, set[tuple[str, str]]()
    until = time.monotonic() + ARRIVAL_TIMEOUT_S
    while wanted - there and time.monotonic() < until:
        for trace_id in sorted({trace_id for trace_id, _ in wanted - there}):
            there |= reader.span_ids(trace_id)
        if carriers <= there and len(there & rated) < len(rated):
            # All feedback is here, and what was sent before it would be too.
            break
        time.sleep(0.2)
    return there & wanted
