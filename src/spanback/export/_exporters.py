"""The exporters that the OTEL_* variables ask for, found by entry point as the SDK finds them, and guarded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from spanback.export._greenlets import let_others_run
from spanback.export._guard import Address, Guard

if TYPE_CHECKING:
    from spanback._settings import Way

_GRPC: Final = "otlp_proto_grpc"
_HTTP: Final = "otlp_proto_http"
_OTLP: Final = {"grpc": _GRPC, "http/protobuf": _HTTP}
_COMPRESSIONS: Final = {"none": "NoCompression", "gzip": "Gzip", "deflate": "Deflate"}
# A collector that comes back is found within seconds; gRPC of itself waits up to two minutes.
_CHANNEL_OPTIONS: Final = (("grpc.max_reconnect_backoff_ms", 5_000),)
_OTLP_MODULES: Final = "opentelemetry.exporter.otlp.proto."  # the one that writes files is another
_logger: Final = logging.getLogger("spanback.export")


class Exporters:
    """Makes the exporters of all signals. One that cannot be made is named in a WARNING and left out.

    Args:
        guards: Takes the guards of the OTLP exporters that are made.
        has_file: Whether a file takes the signals too. Without a choice in OTEL_*_EXPORTER a signal leaves by OTLP,
            but where a file takes it, only if an endpoint is named.
    """

    def __init__(self, guards: list[Guard], *, has_file: bool) -> None:
        self._guards = guards
        self._has_file = has_file
        self._addresses: dict[str, Address] = {}

    def make(self, signal: str, way: Way) -> list[Any]:
        """The exporters of `traces`, `logs` or `metrics`; one of metrics may be a `MetricReader`. Never raises."""
        default = () if self._has_file and way.endpoint is None else ("otlp",)
        made: list[Any] = []
        for name in way.exporters or default:
            if name.lower() != "none":
                exporter = self._make(signal, way, name)
                if exporter is not None:
                    made.append(exporter)
        return made

    def _make(self, signal: str, way: Way, name: str) -> Any:
        entry_point = _OTLP[way.protocol] if name == "otlp" else name
        group, variable = f"opentelemetry_{signal}_exporter", f"OTEL_{signal.upper()}_EXPORTER"
        if entry_point not in _OTLP.values():
            return component(group, name, variable, lambda factory: factory())
        exporter = component(group, entry_point, variable, lambda factory: _otlp(factory, entry_point, way.compression))
        if exporter is None:
            return None
        guard = Guard(exporter, signal, self._address(way, entry_point))
        self._guards.append(guard)
        return guard

    def _address(self, way: Way, entry_point: str) -> Address:
        found = _address(way, entry_point)
        return self._addresses.setdefault(found.url, found)


def sends_by_otlp(processor: object, address: Address) -> bool:
    """Whether a processor of the SDK, of spans or of log records, exports by OTLP to an address."""
    inner = getattr(processor, "_batch_processor", processor)
    exporter = getattr(processor, "span_exporter", None) or getattr(inner, "_exporter", None)
    if isinstance(exporter, Guard):
        return exporter.url == address.url
    if not any(cls.__module__.startswith(_OTLP_MODULES) for cls in type(exporter).__mro__):
        return False
    # An app may send elsewhere as well, and says so in code. Over gRPC the exporter has dropped the scheme.
    endpoint = getattr(exporter, "_endpoint", None)
    return not isinstance(endpoint, str) or _host(endpoint) == _host(address.url)


def otlp_address(way: Way) -> Address:
    """Where a signal goes by OTLP, for messages about it."""
    return _address(way, _OTLP[way.protocol])


def component(group: str, name: str, variable: str, make: Callable[[Callable[..., Any]], Any]) -> Any:
    """Makes what an entry point of the SDK's names.

    Args:
        group: The entry points' group.
        name: The entry point's name.
        variable: The environment variable that asks for it.
        make: Gets what the entry point refers to and gives the component.

    Returns:
        The component; None, after a WARNING that names the variable, when there is none or it cannot be made.
    """
    try:
        return make(next(iter(entry_points(group=group, name=name))).load())
    except StopIteration:
        _logger.warning("%s asks for %s, which is not installed. It is left out.", variable, name)
    except (ImportError, AttributeError, TypeError, ValueError, LookupError, RuntimeError, OSError) as error:
        _logger.warning("%s asks for %s, which cannot be set up: %s. It is left out.", variable, name, error)
    return None


def _otlp(factory: Callable[..., Any], entry_point: str, compression: str) -> Any:
    # Compression is given and not left to the variables, because the gRPC exporters raise on `none` and `deflate`.
    name = _COMPRESSIONS[compression]
    if entry_point == _GRPC:
        import grpc  # noqa: PLC0415 - loaded only where telemetry leaves by gRPC

        let_others_run()
        return factory(compression=getattr(grpc.Compression, name), channel_options=_CHANNEL_OPTIONS)
    from opentelemetry.exporter.otlp.proto import http  # noqa: PLC0415 - likewise

    return factory(compression=getattr(http.Compression, name))


def _host(endpoint: str) -> str:
    """Host and port, by hand, since what the app or its environment names may be no URL at all."""
    return endpoint.rpartition("://")[2].rpartition("@")[2].partition("/")[0]


def _address(way: Way, entry_point: str) -> Address:
    url = _without_path(way.endpoint or f"http://localhost:{4317 if entry_point == _GRPC else 4318}")
    return Address(url, _advice(url, entry_point))


def _without_path(endpoint: str) -> str:
    """Scheme, host and port: no path, since that differs by signal, and no password, since this is logged."""
    scheme, mark, _ = endpoint.rpartition("://")
    return f"{scheme}{mark}{_host(endpoint)}"


def _advice(url: str, entry_point: str) -> str:
    if url.endswith(":4318") and entry_point == _GRPC:
        hint = "Port 4318 speaks http/protobuf, so set OTEL_EXPORTER_OTLP_PROTOCOL to it"
    elif url.endswith(":4317") and entry_point == _HTTP:
        hint = "Port 4317 speaks grpc, so set OTEL_EXPORTER_OTLP_PROTOCOL to it"
    else:
        protocol = "grpc" if entry_point == _GRPC else "http/protobuf"
        hint = f"Start a collector that speaks {protocol} there, or set OTEL_EXPORTER_OTLP_ENDPOINT to where one is"
    return (
        f"{hint}, or OTEL_TRACES_EXPORTER=none (also _LOGS_, _METRICS_) to send nothing. Tried on; said once a minute."
    )
