"""An HTTP server of a test's own."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

Answer = tuple[int, Mapping[str, str], bytes]
"""Status, headers and body; a Content-Length that is not said is the body's."""


@contextmanager
def http_server(answer: Callable[[BaseHTTPRequestHandler], Answer], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Answer every request; yields the address. Requests come side by side."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = answer(self)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            # A body shorter than announced: the connection breaks in its middle.
            self.close_connection = len(body) < int(headers.get("Content-Length", len(body)))

        do_HEAD = do_PATCH = do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
