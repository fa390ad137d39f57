"""An OTLP backend that keeps what it accepts and answers as a test says, over HTTP or gRPC."""

from __future__ import annotations

import contextlib
import gzip
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

REQUESTS: dict[str, Any] = {
    "traces": trace_service_pb2.ExportTraceServiceRequest,
    "logs": logs_service_pb2.ExportLogsServiceRequest,
}
RESPONSES: dict[str, Any] = {
    "traces": trace_service_pb2.ExportTraceServiceResponse,
    "logs": logs_service_pb2.ExportLogsServiceResponse,
}
METHODS = {
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": "traces",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": "logs",
}


class Reply(NamedTuple):
    """What to answer: an HTTP status or a gRPC code, with what belongs to it."""

    status: Any = 200
    message: str = ""
    headers: Mapping[str, Any] = MappingProxyType({})
    rejected: int = 0


Answer = Callable[[str, list[str]], Reply | None]


class Backend:
    """What was asked, and what was accepted.

    Attributes:
        url: Its base URL.
        answer: Called with the kind and the feedback ids of a request; None accepts all of them.
        asked: Kind and ids of each request.
        headers: The headers of each request.
        accepted: The ids that were accepted, by kind, in order.
        requests: The messages that were accepted.
    """

    def __init__(self) -> None:
        self.url = ""
        self.answer: Answer = lambda kind, ids: None
        self.asked: list[tuple[str, list[str]]] = []
        self.headers: list[dict[str, str]] = []
        self.accepted: dict[str, list[str]] = {"traces": [], "logs": []}
        self.requests: dict[str, list[Any]] = {"traces": [], "logs": []}

    def take(self, kind: str, message: Any, headers: Any) -> Reply:
        """Notes one request and decides on the answer."""
        ids = list(ids_in(message))
        self.asked.append((kind, ids))
        self.headers.append({key.lower(): str(value) for key, value in headers})
        reply = self.answer(kind, ids) or Reply()
        if reply.status in (200, grpc.StatusCode.OK) and not reply.rejected:
            self.accepted[kind] += ids
            self.requests[kind].append(message)
        return reply


def ids_in(message: Any) -> Iterator[str]:
    """The feedback ids in a request for traces or logs."""
    traces = isinstance(message, REQUESTS["traces"])
    for resource in message.resource_spans if traces else message.resource_logs:
        for scope in resource.scope_spans if traces else resource.scope_logs:
            for item in scope.spans if traces else scope.log_records:
                yield next(one.value.string_value for one in item.attributes if one.key == "feedback.id")


def _response(kind: str, reply: Reply) -> Message:
    response = RESPONSES[kind]()
    if reply.rejected or (reply.status == 200 and reply.message):
        field = "rejected_spans" if kind == "traces" else "rejected_log_records"
        setattr(response.partial_success, field, reply.rejected)
        response.partial_success.error_message = reply.message
    return response


@contextlib.contextmanager
def over_http(port: int = 0) -> Iterator[Backend]:
    """The backend over HTTP."""
    backend = Backend()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            expand = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(self.headers.get("Content-Encoding", ""))
            kind = self.path.rpartition("/")[2]
            message = REQUESTS[kind].FromString(expand(body) if expand else body)
            reply = backend.take(kind, message, self.headers.items())
            content = _response(kind, reply) if reply.status == 200 else Status(message=reply.message)
            out = reply.message.encode() if reply.headers.get("Content-Type") else content.SerializeToString()
            self.send_response(reply.status)
            for key, value in reply.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(out)))
            self.end_headers()
            self.wfile.write(out)

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
def over_grpc() -> Iterator[Backend]:
    """The backend over gRPC; `headers` of a reply are trailing metadata."""
    backend = Backend()

    class Service(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            kind = METHODS[handler_call_details.method]

            def export(request: Any, context: Any) -> Any:
                reply = backend.take(kind, request, context.invocation_metadata())
                if reply.status not in (200, grpc.StatusCode.OK):
                    context.set_trailing_metadata(tuple(reply.headers.items()))
                    context.abort(reply.status, reply.message)
                return _response(kind, reply)

            return grpc.unary_unary_rpc_method_handler(
                export, REQUESTS[kind].FromString, RESPONSES[kind].SerializeToString
            )

    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Service(),))
    backend.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield backend
    finally:
        server.stop(None).wait()
