"""An HTTP server over a folder that knows ranges, counts what is asked of it, and fails as it is told."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


class FaultyServer(ThreadingHTTPServer):
    """Serves ``root``.

    Attributes:
        faults: ``{path: [fault, ...]}``, used up request by request: a status such as 503, ``'cut'`` (the connection ends
            within the body), ``'slow'`` (half a second late).
        requests: (path, first byte, bytes sent) of each answer with a body.
        ranges: Whether ranges are known.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(('127.0.0.1', 0), _Handler)
        self.root, self.ranges = root, True
        self.faults: dict[str, list] = defaultdict(list)
        self.requests: list[tuple[str, int, int]] = []

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_address[1]}'


class _Handler(BaseHTTPRequestHandler):
    server: FaultyServer
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(self.path).lstrip('/')
        place = self.server.root / path
        fault = self.server.faults[path].pop(0) if self.server.faults[path] and self.command == 'GET' else None
        if fault == 'slow':
            time.sleep(0.5)
        if isinstance(fault, int) or not place.is_file():
            return self._answer(fault if isinstance(fault, int) else 404, b'', [])
        content, status, first, head = place.read_bytes(), 200, 0, [('Accept-Ranges', 'bytes')] * self.server.ranges
        wanted = self.headers.get('Range')
        if wanted and self.server.ranges:
            start, _, end = wanted.removeprefix('bytes=').partition('-')
            first, last = int(start), min(int(end or len(content)), len(content) - 1)
            head.append(('Content-Range', f'bytes {first}-{last}/{len(content)}'))
            content, status = content[first : last + 1], 206
        if self.command == 'GET':
            self.server.requests.append((path, first, len(content)))
        self._answer(status, content, head, cut=fault == 'cut')

    def _answer(self, status: int, content: bytes, head: list, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in [*head, ('Content-Length', str(len(content)))]:
            self.send_header(name, value)
        self.end_headers()
        if self.command == 'GET':
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True


@contextmanager
def serving(root: Path) -> Iterator[FaultyServer]:
    """A server that runs within the block."""
    with FaultyServer(root) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.02), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
