"""A web server on this machine that answers for one image at a time.

It trusts no client: any page in a browser can send requests to it. The check
of `Host` stops DNS rebinding. The checks of `Origin` and of the content type,
which needs a preflight that is never granted, stop other pages.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socketserver
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ADDRESS = "127.0.0.1"
MAX_BYTES = 32 << 20
CONTENT_TYPE = "application/octet-stream"
# For one read, and for the whole image.
_IDLE_SECONDS, _UPLOAD_SECONDS = 10.0, 60.0
_BLOCK = 1 << 16
_JSON, _TEXT = "application/json", "text/plain; charset=utf-8"
# Takes an encoded image.
Answer = Callable[[bytes], dict[str, Any]]


class BadImageError(Exception):
    """The image cannot be used; the message says why, without a path."""


class ImageServer(ThreadingHTTPServer):
    """Serves a page, and answers for images that are posted to /predict."""

    daemon_threads = True

    def __init__(self, port: int, page: str, answer: Answer) -> None:
        """Binds to the loopback address.

        Args:
          port: 0 for a free one.
          page: the HTML of /, whose scripts and styles are inline.
          answer: called by one thread at a time.

        Raises:
          OSError: the port cannot be used.
        """
        super().__init__((ADDRESS, port), _Handler)
        self.page = page.encode()
        self.policy = content_policy(page)
        self.answer = answer
        self.lock = threading.Lock()
        own = self.server_address[1]
        self.hosts = {f"{name}:{own}" for name in (ADDRESS, "localhost")}

    def server_bind(self) -> None:
        """Binds without the look-up of a host name in `HTTPServer`."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores a client that has gone."""


def content_policy(page: str) -> str:
    """Returns the header that allows nothing but a page's inline code."""

    def hashes(tag: str) -> str:
        found = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = (hashlib.sha256(text.encode()).digest() for text in found)
        quoted = (f"'sha256-{base64.b64encode(x).decode()}'" for x in digests)
        return " ".join(quoted) or "'none'"

    return (
        f"default-src 'none'; script-src {hashes('script')};"
        f" style-src {hashes('style')}; img-src data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class _RefusedError(Exception):
    """A request that is refused with a status and a line."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: ImageServer
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        """Sends the page."""
        try:
            self._check_host()
            if self.path != "/":
                raise _RefusedError(HTTPStatus.NOT_FOUND, "no such page")
        except _RefusedError as refused:
            self._refuse(refused.status, str(refused))
            return
        page = self.server.page
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", page)

    def do_POST(self) -> None:
        """Sends the predictions for the image in the body."""
        try:
            self._check_host()
            self._check_sender()
            encoded = self._body()
            with self.server.lock:
                values = self.server.answer(encoded)
        except _RefusedError as refused:
            self._refuse(refused.status, str(refused))
            return
        except BadImageError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        except Exception:
            # The message may have a path of this machine.
            self._refuse(
                HTTPStatus.INTERNAL_SERVER_ERROR, "the prediction failed"
            )
            return
        content = json.dumps(values, ensure_ascii=False).encode()
        self._send(HTTPStatus.OK, _JSON, content)

    def _check_host(self) -> None:
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0] not in self.server.hosts:
            raise _RefusedError(HTTPStatus.FORBIDDEN, "another host")

    def _check_sender(self) -> None:
        if self.path != "/predict":
            raise _RefusedError(HTTPStatus.NOT_FOUND, "no such page")
        own = {f"http://{host}" for host in self.server.hosts}
        if not set(self.headers.get_all("Origin") or []) <= own:
            raise _RefusedError(HTTPStatus.FORBIDDEN, "another origin")
        if self.headers.get("Content-Type") != CONTENT_TYPE:
            raise _RefusedError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"the content type must be {CONTENT_TYPE}",
            )

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            raise _RefusedError(
                HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing"
            )
        if len(length) > 12 or int(length) > MAX_BYTES:
            raise _RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"larger than {MAX_BYTES >> 20} MiB",
            )
        end = time.monotonic() + _UPLOAD_SECONDS
        body = bytearray()
        while len(body) < int(length):
            try:
                # At most one read of the socket, so that `end` holds.
                part = self.rfile.read1(min(_BLOCK, int(length) - len(body)))
            except TimeoutError:
                part = b""
            if not part or time.monotonic() > end:
                raise _RefusedError(
                    HTTPStatus.REQUEST_TIMEOUT, "the image did not arrive"
                )
            body += part
        return bytes(body)

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """Sends the phrase of a status that http.server refuses with."""
        # http.server's messages repeat the request.
        del message, explain
        self._refuse(HTTPStatus(code), HTTPStatus(code).phrase)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self._send(status, _TEXT, f"{text}\n".encode())

    def _send(self, status: HTTPStatus, content: str, body: bytes) -> None:
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", content)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", self.server.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Returns the Server header, without versions of this machine."""
        return "transfer-trainer"

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing, because requests are untrusted text."""
