"""An HTTP endpoint that notifications are delivered to, and what it was sent."""

import json
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.until import until


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict
    body: str

    @property
    def kind(self):
        return self.headers.get("x-amz-sns-message-type")

    def json(self):
        return json.loads(self.body)


class Endpoint:
    """Listens on loopback and answers with the statuses that it is given, then with 200."""

    def __init__(self, certificate=None, port=0):
        self.received = []
        self.statuses = []
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                with endpoint._lock:
                    endpoint.received.append(Received(self.path, headers, body))
                    status = endpoint.statuses.pop(0) if endpoint.statuses else 200
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        scheme = "http"
        if certificate:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of_kind(self, kind):
        with self._lock:
            return [it for it in self.received if it.kind == kind]

    def wait(self, kind, count=1, within=30.0):
        """So many requests of a kind, once they are there."""
        until(lambda: len(self.of_kind(kind)) >= count, f"{count} {kind}", within=within)
        return self.of_kind(kind)

    def close(self):
        self._server.shutdown()
        self._server.server_close()
