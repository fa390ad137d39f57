"""Backends on loopback ports: one that takes only traces, by gRPC and by HTTP, and one that never answers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Backend:
    """What a backend was asked: `(path or method, headers, names of spans)`."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, dict[str, str], list[str]]] = []

    def paths(self) -> list[str]:
        """The paths asked for, in order."""
        return [path for path, _, _ in self.asked]

    def take(self, path: str, headers: Any, request: trace_service_pb2.ExportTraceServiceRequest) -> None:
        """Remembers one request for spans."""
        names = [s.name for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
        self.asked.append((path, {key.lower(): str(value) for key, value in headers}, names))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def grpc_traces_only(port: int = 0) -> Iterator[Backend]:
    """A gRPC server with OTLP's trace service alone, as Jaeger and Tempo have it."""
    backend = Backend()

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name for it
            backend.take("Export", context.invocation_metadata(), request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    backend.url = f"http://127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    server.start()
    try:
        yield backend
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def http_traces_only(status: int = 404, port: int = 0, traces_status: int = 200) -> Iterator[Backend]:
    """An HTTP server that takes `/v1/traces` and answers anything else with a status."""
    backend = Backend()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = trace_service_pb2.ExportTraceServiceRequest()
            if self.path == "/v1/traces" and not self.headers.get("Content-Encoding"):
                request.ParseFromString(body)
            backend.take(self.path, self.headers.items(), request)
            self.send_response(traces_status if self.path == "/v1/traces" else status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    backend.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield backend
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
