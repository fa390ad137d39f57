"""`instrument()`, `uninstrument()` and `status()`: where the wrapping of clients and the way out are put together."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from functools import partial
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Final

from opentelemetry._logs import LoggerProvider
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from spanback import _settings, export
from spanback._settings import Consent, Redact, Settings
from spanback._sharing import SHARING
from spanback._spanref import Handle
from spanback._telemetry import TELEMETRY
from spanback.errors import InvalidSetting
from spanback.instrumentation import CLIENTS, NOTICING, WRAPPING

if TYPE_CHECKING:
    from spanback._index import Index, SharedIndex
    from spanback.instrumentation._status import TargetStatus

_FILE_RULE: Final = "must name a folder, or a file ending in .jsonl"
_DURABLE_RULE: Final = "must name a file"
_PROVIDER_RULE: Final = "must be a provider of OpenTelemetry, with the method {}"


class _Given:
    """What the calls of `instrument()` have asked for so far; what a later call leaves out stays."""

    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    logger_provider: LoggerProvider | None = None
    capture_content: bool | str | None = None
    clients: frozenset[str] | None = None
    adopt: bool | None = None
    file: str | None = None
    feedback: dict[str, object] | None = None
    index: object = None
    index_ttl_s: float | None = None
    durable: str | None = None


_logger: Final = logging.getLogger("spanback")
_given: Final = _Given()


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    capture_content: bool | str | None = None,
    clients: Collection[str] | None = None,
    adopt: bool | None = None,
    file: str | PathLike[str] | None = None,
    capture_feedback_content: bool | None = None,
    user_hash_key: str | bytes | None = None,
    redact: Redact | None = None,
    consent: Consent | None = None,
    strict: bool | None = None,
    self_rating: bool | None = None,
    abandoned_streams: bool | None = None,
    durable: str | PathLike[str] | None = None,
    index: str | Index | None = None,
    index_ttl_s: float | None = None,
    set_up: bool = True,
) -> None:
    """Puts a span around every call of every LLM client that spanback knows, imported already or later.

    Takes less than 10 ms, imports no client and opens no connection. Nothing is asked of OpenTelemetry yet: the first
    span or signal uses the providers that the app has set by then, or sets the SDK up from the `OTEL_*` variables.
    Calling it again is harmless: what is given replaces, what is left out stays as it was.

    Args:
        tracer_provider: Takes the spans, instead of the global provider.
        meter_provider: Takes the metrics, instead of the global provider.
        logger_provider: Takes the events, instead of the global provider.
        capture_content: True keeps prompts and answers on spans and the comments and improvements of feedback; False
            keeps none of them; or one of `no_content`, `span_only`, `event_only`, `span_and_event`. When None,
            OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT decides, and without it nothing is kept.
        clients: Names of the clients to instrument, such as `["openai"]`; all when None, but for those named in
            OTEL_PYTHON_DISABLED_INSTRUMENTATIONS.
        adopt: Whether a call that another instrumentation, or the client itself, already traces keeps that span, and
            feedback binds to it. False makes spans of our own in any case and silences the others where they let
            themselves be silenced. When None, SPANBACK_ADOPT decides, and without it they are kept.
        file: A folder, or a file ending in `.jsonl`, for OTLP-JSON lines, as well as OTLP where
            OTEL_EXPORTER_OTLP_ENDPOINT is set and instead of it where it is not. When None, SPANBACK_FILE decides.
        capture_feedback_content: Whether comments and improvements of feedback are kept, whatever becomes of prompts
            and answers. When None, `capture_content` and SPANBACK_CAPTURE_FEEDBACK_CONTENT decide.
        user_hash_key: Key of the HMAC that the ids of users and raters become. When None, SPANBACK_USER_HASH_KEY
            holds it; without one nothing is kept of such ids.
        redact: Called as `redact(field, value)` for each of `comment`, `improvement` and `metadata` that a signal has
            and that is to be kept; what it returns is kept instead, and nothing where that is None, breaks the
            field's rule, or where it raises.
        consent: Called as `consent(user_id, target)` for each signal, with the raw user id and the SpanRef, either of
            which may be None. Only where it returns True is anything recorded. It runs inside the call.
        strict: True refuses feedback by a name that is neither declared nor one of the presets'.
        self_rating: True allows a signal of `source="user"` from inside of the very model call or agent that it rates,
            which is refused otherwise.
        abandoned_streams: True records the signal `abandoned` on a stream that the app leaves before its end.
        durable: A file, the spool: each signal of feedback is committed there before `record_feedback` returns, and
            stays until OTLP's backend, as the OTEL_* variables name it, has accepted it. Processes may share it. With
            it `record_feedback` waits for the disk, and raises SpoolUnavailable where it cannot write, unless
            SPANBACK_SPOOL_FULL is `drop_oldest`. When None, SPANBACK_SPOOL decides.
        index: Where processes share which response came from which span, so that each of them can rate a response by
            its id: `sqlite:///path` on one machine, `redis://host` (extra `redis`) on many, or an object with the
            methods `put(response_id, ref)` and `find(response_id)`. Model calls never wait for it. When None,
            SPANBACK_INDEX decides.
        index_ttl_s: For how long the shared index knows a response, in seconds. When None, SPANBACK_INDEX_TTL_S
            decides, and without it a week.
        set_up: Whether the SDK may be set up if the app sets no provider. The last call's word counts, also where it
            leaves this out.

    Raises:
        InvalidSetting: An argument breaks its rule; nothing has changed then.
    """
    _check_provider("tracer_provider", tracer_provider, "get_tracer")
    _check_provider("meter_provider", meter_provider, "get_meter")
    _check_provider("logger_provider", logger_provider, "get_logger")
    settings = _settings.from_environment()
    content = _given.capture_content if capture_content is None else capture_content
    if content is not None:
        settings = _settings.with_content(settings, content)
    feedback = {
        "capture_feedback_content": capture_feedback_content,
        "user_hash_key": user_hash_key,
        "redact": redact,
        "consent": consent,
        "strict": strict,
        "self_rating": self_rating,
        "abandoned_streams": abandoned_streams,
    }
    feedback = {name: (_given.feedback or {}).get(name) if new is None else new for name, new in feedback.items()}
    settings = _settings.with_feedback(settings, feedback)
    asked = (_check_clients(clients), _given.clients, settings.clients)
    chosen = next((names for names in asked if names is not None), None)
    path = _check_path("file", file, _FILE_RULE) or _given.file or settings.file
    spool = _check_path("durable", durable, _DURABLE_RULE) or _given.durable or settings.spool
    adopting = next((one for one in (adopt, _given.adopt) if one is not None), settings.adopt)
    settings = settings._replace(clients=chosen, adopt=adopting, file=path, spool=spool)

    found, ttl_s = _checked_index(index, index_ttl_s, settings)

    _given.tracer_provider = _given.tracer_provider if tracer_provider is None else tracer_provider
    _given.meter_provider = _given.meter_provider if meter_provider is None else meter_provider
    _given.logger_provider = _given.logger_provider if logger_provider is None else logger_provider
    _given.capture_content, _given.clients, _given.file = content, chosen, path
    _given.adopt, _given.feedback, _given.durable = adopting, feedback, spool
    _given.index, _given.index_ttl_s = _given.index if index is None else index, ttl_s
    _settings.use(settings)
    SHARING.use(found)
    TELEMETRY.on_abandoned = _record_abandoned if settings.abandoned_streams else None
    TELEMETRY.configure(
        tracer_provider=_given.tracer_provider,
        meter_provider=_given.meter_provider,
        logger_provider=_given.logger_provider,
        set_up=partial(export.set_up, settings) if set_up else None,
        on_found=partial(export.add_file, settings=settings) if path else None,
        open_spool=partial(export.open_spool, settings) if spool else None,
    )
    NOTICING.install()
    WRAPPING.install(chosen if chosen is not None else _enabled())


def uninstrument() -> None:
    """Takes everything back that `instrument()` did: the clients' functions are the very same objects again.

    Streams that are still open end their spans. Providers that were set up stay, since OpenTelemetry has no way to
    unset them; what they hold is still sent. Never raises.
    """
    WRAPPING.remove()
    NOTICING.remove()
    TELEMETRY.configure()
    SHARING.use(None)
    TELEMETRY.on_abandoned = None
    _settings.use(None)
    vars(_given).clear()


def status() -> list[TargetStatus]:
    """What became of each function that spanback wraps. Never raises.

    Returns:
        One `TargetStatus` a target.
    """
    return WRAPPING.status()


def _record_abandoned(handle: Handle, response_id: str | None, response_model: str | None) -> None:
    from spanback.feedback import record_abandoned  # noqa: PLC0415 - all of feedback, which `instrument()` can do without

    record_abandoned(handle, response_id, response_model)


def _checked_index(given: Any, ttl_s: Any, settings: Settings) -> tuple[SharedIndex | None, float]:
    """The shared index that is asked for: that in force, where nothing has changed."""
    for_s = next(one for one in (ttl_s, _given.index_ttl_s, settings.index_ttl_s) if one is not None)
    if isinstance(for_s, bool) or not isinstance(for_s, (int, float)) or not 1 <= for_s < math.inf:
        raise InvalidSetting("index_ttl_s", for_s, "must be a number of seconds, at least 1")
    # An index of the app's own may count as false while nothing is in it.
    asked = next((one for one in (given, _given.index, settings.shared_index) if one is not None), None)
    if asked is None:
        return None, for_s
    if SHARING.index is not None and (asked, for_s) == SHARING.named:
        return SHARING.index, for_s
    from spanback._index import opened  # noqa: PLC0415 - with databases, for whoever shares an index

    try:
        found = opened(asked, for_s)
    except InvalidSetting as problem:
        if asked is not settings.shared_index:
            raise
        _logger.warning("SPANBACK_INDEX is not used: %s", problem)  # a wrong variable must not stop an app
        return None, for_s
    SHARING.named = (asked, for_s)
    return found, for_s


def _enabled() -> frozenset[str]:
    disabled = _settings.disabled_instrumentations()
    return frozenset() if "*" in disabled else frozenset(CLIENTS) - disabled


def _check_clients(clients: Any) -> frozenset[str] | None:
    if clients is None:
        return None
    if isinstance(clients, str) or not isinstance(clients, Collection):
        raise InvalidSetting("clients", clients, "must be a list of client names")
    for client in clients:
        if not isinstance(client, str) or client not in CLIENTS:
            raise InvalidSetting("clients", client, f"must be among {', '.join(CLIENTS)}")
    return frozenset(clients)


def _check_provider(setting: str, given: object, method: str) -> None:
    if given is not None and not callable(getattr(given, method, None)):
        raise InvalidSetting(setting, given, _PROVIDER_RULE.format(method))


def _check_path(setting: str, given: Any, rule: str) -> str | None:
    if given is None:
        return None
    path = fspath(given) if isinstance(given, (str, PathLike)) else ""
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise InvalidSetting(setting, given, rule)
    return path
