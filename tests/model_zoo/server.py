"""A web server on this machine that misbehaves as it is told."""

import contextlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """What the server does.

    Args:
        content: of the file.
        etag: its version; "" to send none.
        ranges: whether it can go on from the middle.
        cuts: after how many bytes each of the first answers ends.
        statuses: answered in turn instead of the file, before anything else.
    """

    content: bytes
    etag: str = '"v1"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        told = self.server.told
        wanted = self.headers.get("Range", "")
        told.asked.append(wanted)
        if told.statuses:
            self.send_error(told.statuses.pop(0))
            return
        start = 0
        if wanted and told.ranges and self.headers.get("If-Range") == told.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(told.content) and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(told.content)}")
            self.end_headers()
            return
        body = told.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(told.content) - 1}/{len(told.content)}")
        if told.etag:
            self.send_header("ETag", told.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: told.cuts.pop(0)] if told.cuts else body)

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serve(content, **behaviour):
    """Gives the address of a file and what the server was told and asked."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.told = Behaviour(content, **behaviour)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/model.pth", server.told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
