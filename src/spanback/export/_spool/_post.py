"""One OTLP request over HTTP or gRPC, and what its answer means for the records in it.

The SDK's exporters order their retries themselves and say of an answer only whether it was a success. A spool must know
more: whether to wait and for how long, whether a record is at fault or the settings are, and what the backend says.
"""

from __future__ import annotations

import gzip
import time
import zlib
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.util.re import parse_env_headers

from spanback._version import __version__
from spanback.export._greenlets import let_others_run

if TYPE_CHECKING:
    from spanback._settings import Way
    from spanback.export._spool._store import Kind

Verdict = Literal["accepted", "rejected", "too large", "busy", "broken", "refused", "misconfigured"]

REQUESTS: Final[dict[Kind, Any]] = {"traces": ExportTraceServiceRequest, "logs": ExportLogsServiceRequest}
RETRY_AFTER_LIMIT_S: Final = 3_600.0

_REASON_CHARACTERS: Final = 300
_RESPONSES: Final[dict[Kind, Any]] = {"traces": ExportTraceServiceResponse, "logs": ExportLogsServiceResponse}
_METHODS: Final[dict[Kind, str]] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
# A collector that comes back is found within seconds; gRPC of itself waits up to two minutes.
_CHANNEL_OPTIONS: Final = (("grpc.max_reconnect_backoff_ms", 5_000),)
_COMPRESSIONS: Final = {"gzip": gzip.compress, "deflate": zlib.compress}
_GRPC_COMPRESSIONS: Final = {"none": "NoCompression", "gzip": "Gzip", "deflate": "Deflate"}

_HTTP_VERDICTS: Final[dict[int, Verdict]] = {
    400: "rejected", 404: "refused", 405: "refused", 408: "busy", 413: "too large", 422: "rejected", 425: "busy",
    429: "busy", 502: "busy", 503: "busy", 504: "busy",
}  # fmt: skip
_GRPC_VERDICTS: Final[dict[str, Verdict]] = {
    "INVALID_ARGUMENT": "rejected", "UNIMPLEMENTED": "refused", "INTERNAL": "broken", "UNKNOWN": "broken",
    "CANCELLED": "busy", "DEADLINE_EXCEEDED": "busy", "RESOURCE_EXHAUSTED": "busy", "ABORTED": "busy",
    "OUT_OF_RANGE": "busy", "UNAVAILABLE": "busy", "DATA_LOSS": "busy",
}  # fmt: skip


class Answer(NamedTuple):
    """What became of one request.

    Attributes:
        verdict: `accepted`: all of it was taken. `rejected`: at least one record is at fault. `too large`: the request
            is. `busy`: try again later. `broken`: the backend failed, perhaps over one of the records. `refused`: it
            takes nothing of this kind. `misconfigured`: address, credentials or the like are wrong.
        reason: What the backend or the network says, on one line.
        retry_after_s: When to try again, if the backend says so.
    """

    verdict: Verdict
    reason: str = ""
    retry_after_s: float | None = None


class Post(Protocol):
    """Sends requests of one kind to one address."""

    def send(self, request: bytes) -> Answer:
        """Sends one request and waits for its answer, no longer than the timeout. Never raises."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...


def post_to(way: Way, kind: Kind) -> Post:
    """What sends a kind of record the way that the OTEL_* variables say.

    Raises:
        ValueError: The address cannot be understood.
        OSError: A certificate or key cannot be read.
        ImportError: The package for the protocol is not installed.
    """
    return GrpcPost(way, kind) if way.protocol == "grpc" else HttpPost(way, kind)


class HttpPost:
    """OTLP over HTTP with protobuf bodies."""

    def __init__(self, way: Way, kind: Kind) -> None:
        import requests  # noqa: PLC0415 - loaded only where telemetry leaves by HTTP

        base = way.endpoint or "http://localhost:4318"
        self._url = base if way.is_whole else f"{base.rstrip('/')}/v1/{kind}"
        self._kind: Kind = kind
        self._timeout_s = way.timeout_s
        self._compress = _COMPRESSIONS.get(way.compression)
        self._errors = requests.RequestException
        self._session = requests.Session()
        self._session.headers.update(parse_env_headers(way.headers, liberal=True))
        self._session.headers.update(
            {"Content-Type": "application/x-protobuf", "User-Agent": f"spanback/{__version__}"}
        )
        if self._compress is not None:
            self._session.headers["Content-Encoding"] = way.compression
        self._verify = way.certificate or True
        if way.client_certificate:
            self._session.cert = (way.client_certificate, way.client_key) if way.client_key else way.client_certificate

    def send(self, request: bytes) -> Answer:
        """As `Post.send`."""
        body = request if self._compress is None else self._compress(request)
        try:
            # Said with each request: a certificate of the session gives way to the variable REQUESTS_CA_BUNDLE.
            response = self._session.post(
                self._url, data=body, timeout=self._timeout_s, allow_redirects=False, verify=self._verify
            )
        except self._errors as error:
            # A wrong address is a ValueError too.
            verdict: Verdict = "misconfigured" if isinstance(error, ValueError) else "busy"
            return Answer(verdict, _line(f"{type(error).__name__}: {error}"))
        except OSError as error:  # a certificate that is no longer there
            return Answer("misconfigured", _line(str(error)))
        status = response.status_code
        if 200 <= status < 300:
            return _taken(self._kind, response.content)
        default: Verdict = "broken" if status >= 500 else "misconfigured"
        said = _said(response.content)
        return Answer(
            _HTTP_VERDICTS.get(status, default),
            _line(f"HTTP {status} {response.reason}{': ' if said else ''}{said}"),
            _seconds(response.headers.get("Retry-After")),
        )

    def close(self) -> None:
        """As `Post.close`."""
        self._session.close()


class GrpcPost:
    """OTLP over gRPC."""

    def __init__(self, way: Way, kind: Kind) -> None:
        import grpc  # noqa: PLC0415 - loaded only where telemetry leaves by gRPC

        let_others_run()
        endpoint = way.endpoint or "http://localhost:4317"
        parts = urlsplit(endpoint)
        is_plain = parts.scheme == "http" or (way.insecure and parts.scheme != "https")
        address = parts.netloc or endpoint
        compression = getattr(grpc.Compression, _GRPC_COMPRESSIONS[way.compression])
        if is_plain:
            self._channel = grpc.insecure_channel(address, _CHANNEL_OPTIONS, compression)
        else:
            credentials = grpc.ssl_channel_credentials(
                *(_bytes_of(path) for path in (way.certificate, way.client_key, way.client_certificate))
            )
            self._channel = grpc.secure_channel(address, credentials, _CHANNEL_OPTIONS, compression)
        self._export = self._channel.unary_unary(_METHODS[kind])  # bytes in, bytes out
        self._kind: Kind = kind
        self._metadata = tuple(parse_env_headers(way.headers, liberal=True).items())
        self._timeout_s = way.timeout_s
        self._errors = grpc.RpcError

    def send(self, request: bytes) -> Answer:
        """As `Post.send`."""
        try:
            response = self._export(request, timeout=self._timeout_s, metadata=self._metadata)
        except self._errors as error:
            return self._failed(error)
        except ValueError as error:  # the channel is closed
            return Answer("busy", _line(str(error)))
        return _taken(self._kind, response)

    def close(self) -> None:
        """As `Post.close`."""
        self._channel.close()

    @staticmethod
    def _failed(error: Any) -> Answer:
        name, details = error.code().name, error.details() or ""
        verdict = _GRPC_VERDICTS.get(name, "misconfigured")
        if name == "RESOURCE_EXHAUSTED" and "larger than max" in details:
            verdict = "too large"
        return Answer(
            verdict, _line(", ".join(filter(None, (name, details)))), _retry_info(dict(error.trailing_metadata() or ()))
        )


def _taken(kind: Kind, content: bytes) -> Answer:
    """What a success says about single records."""
    response = _RESPONSES[kind]()
    try:
        response.ParseFromString(content)
    except DecodeError:  # an answer in JSON, or a page: it is a success all the same
        return Answer("accepted")
    partial = response.partial_success
    rejected = partial.rejected_spans if kind == "traces" else partial.rejected_log_records
    return Answer("rejected" if rejected > 0 else "accepted", _line(partial.error_message))


def _said(content: bytes) -> str:
    """The message of a google.rpc.Status, as OTLP wants it, or else the text."""
    from google.rpc.status_pb2 import Status  # noqa: PLC0415 - needed when something is wrong only

    try:
        message = Status.FromString(content).message
    except DecodeError:
        message = ""
    return message or content[: 4 * _REASON_CHARACTERS].decode("utf-8", "replace")


def _retry_info(metadata: dict[str, Any]) -> float | None:
    """The delay of a google.rpc.RetryInfo, alone or among the details of a google.rpc.Status."""
    from google.rpc.error_details_pb2 import RetryInfo  # noqa: PLC0415 - as above
    from google.rpc.status_pb2 import Status  # noqa: PLC0415 - as above

    info = RetryInfo()
    try:
        if "google.rpc.retryinfo-bin" in metadata:
            info.ParseFromString(metadata["google.rpc.retryinfo-bin"])
        else:
            details = Status.FromString(metadata.get("grpc-status-details-bin", b"")).details
            if not any(detail.Unpack(info) for detail in details):
                return None
    except DecodeError:
        return None
    return _limited(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)


def _seconds(retry_after: str | None) -> float | None:
    """The value of the header Retry-After: seconds, or a date."""
    if not retry_after:
        return None
    try:
        return _limited(float(retry_after))
    except ValueError:
        pass
    try:
        return _limited(parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _limited(seconds: float) -> float | None:
    """None for what is no number of seconds; a wrong date must not stop the sending for a year."""
    return min(seconds, RETRY_AFTER_LIMIT_S) if seconds >= 0 else None


def _bytes_of(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:  # noqa: PTH123 - a path as a variable has it
        return file.read()


def _line(text: str) -> str:
    return " ".join(text.split())[:_REASON_CHARACTERS].rstrip(".")
