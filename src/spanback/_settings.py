"""What the app and its environment ask for, read once. The only module that reads environment variables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, cast, get_args

from spanback.errors import InvalidSetting

ContentMode = Literal["no_content", "span_only", "event_only", "span_and_event"]
Emit = Literal["span", "log", "both"]
Redact = Callable[[str, Any], Any]
Consent = Callable[["str | None", Any], bool]
SpoolFullChoice = Literal["raise", "drop_oldest"]

_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off", ""})
_MODES: Final = frozenset(get_args(ContentMode))
_COMPRESSIONS: Final = frozenset({"gzip", "deflate"})

SPAN_MODES: Final[frozenset[ContentMode]] = frozenset({"span_only", "span_and_event"})
EVENT_MODES: Final[frozenset[ContentMode]] = frozenset({"event_only", "span_and_event"})

CAPTURE_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
EMIT_EVENT: Final = "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT"
DISABLED_INSTRUMENTATIONS: Final = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
TOKEN_KEYS: Final = "SPANBACK_TOKEN_KEYS"

_CHOICES: Final = {"SPANBACK_EMIT": get_args(Emit), "SPANBACK_SPOOL_FULL": get_args(SpoolFullChoice)}
_FLAGS: Final = frozenset({
    EMIT_EVENT, "OTEL_SDK_DISABLED", "SPANBACK_ABANDONED_STREAMS", "SPANBACK_ADOPT", "SPANBACK_CHUNK_METRICS",
    "SPANBACK_CAPTURE_FEEDBACK_CONTENT", "SPANBACK_SELF_RATING",
})  # fmt: skip

SECRETS: Final = frozenset({"user_hash_key", "token_keys", "shared_index"})
"""The settings that are keys, or may hold a password: never to be shown as they are."""
_SECRETS_OF_A_WAY: Final = frozenset({"endpoint", "headers"})


# Both are named tuples: to make a frozen dataclass of so many fields takes every start a millisecond.


class Way(NamedTuple):
    """How one signal leaves the process.

    Attributes:
        exporters: Names from OTEL_TRACES_EXPORTER and its siblings, such as `otlp`, `console` or `none`; empty unless
            set, which stands for `otlp` where it is not for a file alone.
        protocol: `grpc` or `http/protobuf`.
        compression: `none`, `gzip` or `deflate`.
        endpoint: What OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and its siblings, or else OTEL_EXPORTER_OTLP_ENDPOINT, name;
            None when neither is set.
        is_whole: Whether the endpoint is of the signal's own variable, so that over HTTP no path is put behind it.
        headers: `key=value` pairs as their variable has them; out of the repr as the endpoint is: keys and passwords
            are among them.
        certificate: A file with the certificates to trust, or None.
        client_key: A file with the client's key, or None.
        client_certificate: A file with the client's certificates, or None.
        timeout_s: The longest that one request takes.
        insecure: Whether gRPC goes without TLS where the endpoint has no scheme.
    """

    exporters: tuple[str, ...] = ()
    protocol: str = "grpc"
    compression: str = "none"
    endpoint: str | None = None
    is_whole: bool = False
    headers: str = ""
    certificate: str | None = None
    client_key: str | None = None
    client_certificate: str | None = None
    timeout_s: float = 10.0
    insecure: bool = False

    def __repr__(self) -> str:
        """All fields but those that may hold a key or a password."""
        return _shown(self, _SECRETS_OF_A_WAY)


class Settings(NamedTuple):
    """One consistent set of choices. Times are in seconds, sizes in bytes.

    Attributes:
        content: Where prompts and answers go: nowhere (the default), on spans, on events, or on both.
        feedback_content: Whether comments and improvements of feedback are kept.
        content_limit_bytes: The most that is kept of what one call sends, and of what it gets.
        clients: Names of the clients to instrument; None means all of them.
        adopt: Whether a span that somebody else makes for a call is kept instead of one of ours.
        file: A folder or file for OTLP-JSON lines, or None.
        emit: Whether feedback is emitted as span, as log event, or as both.
        child_window_s: For how long after its start a rated span gets its feedback as a child.
        emit_event: Whether each inference call also emits the event `gen_ai.client.inference.operation.details`.
        chunk_metrics: Whether the time between chunks of a stream is measured (about 3 us a chunk).
        user_hash_key: Key of the HMAC that user ids become; without it no user hash is emitted.
        token_keys: Keys of feedback tokens, as text, oldest to newest: the newest signs, all verify.
        token_audience: Whom feedback tokens are for: one of another audience is refused.
        redact: Gets a field's name (`comment`, `improvement`, `metadata`) and its value, and gives what is kept of it.
        consent: Gets a user id and the rated span, either of which may be None, and says whether feedback is recorded.
        self_rating: Whether a user's signal may come from inside of the very span that it rates.
        abandoned_streams: Whether a stream that the app leaves before its end records a signal.
        shared_index: Where the shared index is, `sqlite:///path` or `redis://...`, or None.
        index_ttl_s: For how long the shared index knows a response.
        strict: Whether names of feedback must be declared.
        sdk_disabled: The value of OTEL_SDK_DISABLED.
        sampler: The value of OTEL_TRACES_SAMPLER, or None.
        sampler_arg: The value of OTEL_TRACES_SAMPLER_ARG, or None.
        id_generator: The value of OTEL_PYTHON_ID_GENERATOR, or None.
        traces: How spans leave.
        logs: How log records leave, feedback events among them.
        metrics: How metrics leave.
        flush_timeout_s: The longest that the process waits at its exit for telemetry to leave.
        spool: The file that feedback is committed to before a receipt is given, or None.
        spool_limit_bytes: The most that the spool holds; 0 for no limit.
        spool_full: What becomes of a signal that the spool cannot take: `raise` refuses it; `drop_oldest` drops
            the oldest ones for it, or where nothing can be written lets it leave as without a spool.
    """

    content: ContentMode = "no_content"
    feedback_content: bool = False
    content_limit_bytes: int = 65_536
    clients: frozenset[str] | None = None
    adopt: bool = True
    file: str | None = None
    emit: Emit = "both"
    child_window_s: float = 300.0
    emit_event: bool = False
    chunk_metrics: bool = False
    user_hash_key: bytes | None = None
    token_keys: tuple[str, ...] = ()
    token_audience: str = "spanback"
    redact: Redact | None = None
    consent: Consent | None = None
    strict: bool = False
    self_rating: bool = False
    abandoned_streams: bool = False
    shared_index: str | None = None
    index_ttl_s: float = 604_800.0
    sdk_disabled: bool = False
    sampler: str | None = None
    sampler_arg: str | None = None
    id_generator: str | None = None
    traces: Way = Way()
    logs: Way = Way()
    metrics: Way = Way()
    flush_timeout_s: float = 5.0
    spool: str | None = None
    spool_limit_bytes: int = 268_435_456
    spool_full: SpoolFullChoice = "raise"

    def __repr__(self) -> str:
        """All fields but the keys, and what may hold a password."""
        return _shown(self, SECRETS)


def from_environment(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings that environment variables ask for.

    A variable with a value that is not understood counts as not set: a wrong variable must not stop an app. Content
    capture stays off then.

    Args:
        environ: The variables; those of the process when None.

    Returns:
        The settings. Never raises.
    """
    env = os.environ if environ is None else environ
    content = content_mode(env.get(CAPTURE_CONTENT, "")) or "no_content"
    key = env.get("SPANBACK_USER_HASH_KEY", "")
    return Settings(
        content=content,
        feedback_content=_flag(env.get("SPANBACK_CAPTURE_FEEDBACK_CONTENT"), content != "no_content"),
        content_limit_bytes=int(_number(env.get("SPANBACK_CONTENT_LIMIT_BYTES"), 65_536)),
        clients=frozenset(_names(env["SPANBACK_CLIENTS"])) if env.get("SPANBACK_CLIENTS") else None,
        adopt=_flag(env.get("SPANBACK_ADOPT"), default=True),
        file=env.get("SPANBACK_FILE") or None,
        emit=cast("Emit", _choice(env, "SPANBACK_EMIT") or "both"),
        child_window_s=_number(env.get("SPANBACK_CHILD_WINDOW_S"), 300.0),
        emit_event=_flag(env.get(EMIT_EVENT), content in EVENT_MODES),
        chunk_metrics=_flag(env.get("SPANBACK_CHUNK_METRICS"), default=False),
        user_hash_key=key.encode("utf-8", "surrogateescape") or None,
        self_rating=_flag(env.get("SPANBACK_SELF_RATING"), default=False),
        abandoned_streams=_flag(env.get("SPANBACK_ABANDONED_STREAMS"), default=False),
        shared_index=env.get("SPANBACK_INDEX", "").strip() or None,
        index_ttl_s=max(1.0, _number(env.get("SPANBACK_INDEX_TTL_S"), 604_800.0)),
        token_keys=_names(env.get(TOKEN_KEYS, "")),
        token_audience=env.get("SPANBACK_TOKEN_AUDIENCE", "").strip() or "spanback",
        sdk_disabled=_flag(env.get("OTEL_SDK_DISABLED"), default=False),
        sampler=env.get("OTEL_TRACES_SAMPLER") or None,
        sampler_arg=env.get("OTEL_TRACES_SAMPLER_ARG") or None,
        id_generator=env.get("OTEL_PYTHON_ID_GENERATOR") or None,
        traces=_way(env, "TRACES"),
        logs=_way(env, "LOGS"),
        metrics=_way(env, "METRICS"),
        flush_timeout_s=_number(env.get("SPANBACK_FLUSH_TIMEOUT_S"), 5.0),
        spool=env.get("SPANBACK_SPOOL") or None,
        spool_limit_bytes=int(_number(env.get("SPANBACK_SPOOL_LIMIT_BYTES"), 268_435_456)),
        spool_full=cast("SpoolFullChoice", _choice(env, "SPANBACK_SPOOL_FULL") or "raise"),
    )


def content_mode(value: str) -> ContentMode | None:
    """The mode that a text asks for, in any case; `true` and `false` are understood as older releases did.

    Returns:
        The mode, or None when the text is none of them.
    """
    text = value.strip().lower()
    if text in _MODES:
        return cast("ContentMode", text)
    return "span_only" if text in _TRUE else "no_content" if text in _FALSE else None


def with_content(settings: Settings, capture_content: bool | str) -> Settings:
    """Settings with the content capture that an app asks for in code, which also governs comments of feedback.

    Args:
        settings: What the environment asks for.
        capture_content: True for content on spans, False for none, or the name of a mode.

    Returns:
        The settings.

    Raises:
        InvalidSetting: It is none of these.
    """
    known = isinstance(cast("object", capture_content), (bool, str))  # anything else could mean to keep or not to keep
    mode = content_mode(str(capture_content)) if known else None
    if mode is None:
        rule = f"must be True, False or one of {', '.join(sorted(_MODES))}"
        raise InvalidSetting("capture_content", capture_content, rule)
    return settings._replace(content=mode, feedback_content=mode != "no_content", emit_event=mode in EVENT_MODES)


def with_feedback(settings: Settings, choices: Mapping[str, object]) -> Settings:
    """Settings with what an app asks for in code about feedback.

    Args:
        settings: What the environment asks for.
        choices: `capture_feedback_content`, `user_hash_key`, `redact`, `consent`, `strict`, `self_rating`,
            `abandoned_streams`; None where not given.

    Returns:
        The settings.

    Raises:
        InvalidSetting: A choice breaks its rule. A key is never shown.
    """
    given = {name: value for name, value in choices.items() if value is not None}
    for name, value in given.items():
        if name in ("redact", "consent"):
            if not callable(value):
                raise InvalidSetting(name, value, "must be a callable of two arguments")
        elif name == "user_hash_key":
            if not isinstance(value, (str, bytes)) or not value:
                raise InvalidSetting(name, type(value), "must be text or bytes, not empty")
        elif not isinstance(value, bool):
            raise InvalidSetting(name, value, "must be True or False")
    if "capture_feedback_content" in given:
        given["feedback_content"] = given.pop("capture_feedback_content")
    key = given.get("user_hash_key")
    if isinstance(key, str):
        given["user_hash_key"] = key.encode("utf-8", "surrogateescape")
    return settings._replace(**cast("dict[str, Any]", given))


def disabled_instrumentations() -> frozenset[str]:
    """The names in OTEL_PYTHON_DISABLED_INSTRUMENTATIONS."""
    return frozenset(_names(os.environ.get(DISABLED_INSTRUMENTATIONS, "")))


def name_service(name: str) -> None:
    """Names the service of this process in its environment, unless OTEL_SERVICE_NAME or a resource attribute does.

    Args:
        name: `service.name` of what is set up from the environment afterwards.
    """
    if "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", name)


def variables_set() -> dict[str, str]:
    """The variables of this process that are OpenTelemetry's or ours, by name. Their values may hold secrets."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(("OTEL_", "SPANBACK_"))}


def misread(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables of ours whose values are not understood, and so count as not set, each with what it may be."""
    for name, value in variables.items():
        text = value.strip().lower()
        if not text or not name.startswith(("SPANBACK_", "OTEL_SDK_", "OTEL_INSTRUMENTATION_GENAI_")):
            continue
        if name == CAPTURE_CONTENT and content_mode(text) is None:
            yield name, ", ".join(get_args(ContentMode))
        elif name in _CHOICES and _choice(variables, name) is None:
            yield name, " or ".join(_CHOICES[name])
        elif name.endswith(("_S", "_BYTES")) and _number(text, -1.0) < 0:
            yield name, "a number, 0 or more"
        elif name in _FLAGS and text not in _TRUE | _FALSE:
            yield name, "true or false"


def send_to(endpoint: str) -> None:
    """Names one OTLP endpoint for all signals in this process, in place of those that its environment names."""
    for name in ("TRACES_", "LOGS_", "METRICS_"):
        os.environ.pop(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT", None)
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint


def give_up_after(timeout_s: int) -> None:
    """Has exports of this process wait no longer than this for an answer, unless its environment says otherwise."""
    os.environ.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", str(timeout_s))


def keep_clients_offline() -> None:
    """Asks the clients that this process imports to ask the network for nothing: LiteLLM fetches a table of prices."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")


class InForce:
    """Which settings are in force; None until somebody asks, or names some by `use`."""

    settings: Settings | None = None


IN_FORCE: Final = InForce()


def current() -> Settings:
    """The settings in force: those given to `use`, else those of the environment, read at the first question."""
    if IN_FORCE.settings is None:
        IN_FORCE.settings = from_environment()
    return IN_FORCE.settings


def use(settings: Settings | None) -> None:
    """Puts settings in force; None means that the environment is read anew at the next question."""
    IN_FORCE.settings = settings


def _shown(of: Way | Settings, secrets: frozenset[str]) -> str:
    fields = zip(of._fields, of, strict=True)
    return f"{type(of).__name__}({', '.join(f'{name}={value!r}' for name, value in fields if name not in secrets)})"


def _way(env: Mapping[str, str], signal: str) -> Way:
    def otlp(name: str) -> str:
        return (env.get(f"OTEL_EXPORTER_OTLP_{signal}_{name}") or env.get(f"OTEL_EXPORTER_OTLP_{name}") or "").strip()

    compression = otlp("COMPRESSION").lower()
    return Way(
        exporters=_names(env.get(f"OTEL_{signal}_EXPORTER", "")),
        # http/json is served where http/protobuf is.
        protocol="http/protobuf" if otlp("PROTOCOL").lower().startswith("http") else "grpc",
        compression=compression if compression in _COMPRESSIONS else "none",
        endpoint=otlp("ENDPOINT") or None,
        is_whole=bool(env.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")),
        headers=otlp("HEADERS"),
        certificate=otlp("CERTIFICATE") or None,
        client_key=otlp("CLIENT_KEY") or None,
        client_certificate=otlp("CLIENT_CERTIFICATE") or None,
        timeout_s=_number(otlp("TIMEOUT"), 10.0) or 10.0,
        insecure=_flag(otlp("INSECURE"), default=False),
    )


def _choice(env: Mapping[str, str], name: str) -> str | None:
    """What a variable of `_CHOICES` says; None where that is none of them."""
    text = env.get(name, "").strip().lower()
    return text if text in _CHOICES[name] else None


def _flag(value: str | None, default: bool) -> bool:
    text = (value or "").strip().lower()
    if not text:
        return default
    return True if text in _TRUE else False if text in _FALSE else default


def _number(value: str | None, default: float) -> float:
    try:
        number = float(value or default)
    except ValueError:
        return default
    return number if 0 <= number < float("inf") else default


def _names(value: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in value.split(",")) if name)
