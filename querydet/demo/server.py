"""Server of the demo page: Flask on 127.0.0.1, without any connection to other machines.

It answers only requests that name this machine as their host and do not come from other pages, so that no web site
can reach it through the browser. Answers hold no words of the system, such as paths: those are for the log. The page
loads no scripts, fonts or pictures from other servers, and forbids them.
"""

import io
import logging
import socket
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from querydet.demo.detection import Models, NoModelError
from querydet.demo.log_lines import guard_loggers
from querydet.demo.uploads import BadImageError

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.serving import BaseWSGIServer

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
MAX_BYTES = 64 * 2**20  # largest upload
STATIC = Path(__file__).parent / "static"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'"
MAX_REQUESTS = 8  # at once, once they have arrived; each may hold an upload in memory
MAX_CONNECTIONS = 64  # at once; each may hold an upload on the disk
MAX_DIGITS = 6  # of the number of a model
SECONDS = 60.0  # of a connection, in which all of its requests have to arrive, and to take each part of an answer
FAILURES = (ValueError, FileNotFoundError, KeyError, ConnectionError, FloatingPointError)

logger = logging.getLogger(__name__)


def create_app(models: Models, threshold: float = 0.3) -> "Flask":
    """Build the page as a WSGI application.

    Args:
        models: the models to offer.
        threshold: initial score threshold of the slider, in [0, 1].

    Raises:
        ImportError: Flask is not installed.
        ValueError: the threshold is outside of [0, 1].
    """
    try:
        import flask
    except ImportError as error:
        raise ImportError("the demo needs Flask: pip install 'querydet[demo]'") from error
    if not 0 <= threshold <= 1:
        raise ValueError(f"the threshold must be in [0, 1], got {threshold}")
    app = flask.Flask("querydet.demo", static_folder=str(STATIC), static_url_path="/static")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    app.config["MAX_FORM_PARTS"] = 10
    guard_loggers(logger, app.logger, logging.getLogger("werkzeug"))
    _guard(app)
    _explain_failures(app)

    @app.get("/")
    def page() -> Any:
        return app.send_static_file("page.html")

    @app.get("/settings")
    def settings() -> Any:
        return flask.jsonify(models=[choice.name for choice in models.choices], threshold=threshold)

    places = threading.BoundedSemaphore(MAX_REQUESTS)

    @app.post("/detect")
    def detect() -> Any:
        _ = flask.request.files  # has all arrived before it takes a place: else slow clients hold them all
        if not places.acquire(blocking=False):
            return flask.jsonify(error="the server is busy: try again"), 503
        try:
            return _detect(models)
        finally:
            places.release()

    return app


def _detect(models: Models) -> Any:
    import flask

    file = flask.request.files.get("image")
    index = flask.request.form.get("model", "0")
    if file is None or not (index.isascii() and index.isdigit() and len(index) <= MAX_DIGITS):
        return flask.jsonify(error="send a file 'image' and the number of a 'model'"), 400
    try:
        return flask.jsonify(asdict(models.detect(file.read(), int(index))))
    except (BadImageError, NoModelError) as error:
        logger.warning("%s: %s (%s)", file.filename, error, error.__cause__)
        return flask.jsonify(error=str(error)), 400
    except FAILURES:
        name = models.choices[int(index)].name
        logger.warning("%s cannot be used", name, exc_info=True)
        return flask.jsonify(error=f"the model {name!r} cannot be used; the server's log says why"), 400


def _guard(app: "Flask") -> None:
    """Answer pages of this machine only, and let the page load nothing from elsewhere."""
    import flask

    @app.before_request
    def check_origin() -> Any:
        request = flask.request
        origin = request.headers.get("Origin", "")
        if request.host.rsplit(":", 1)[0] not in NAMES or origin not in ("", f"http://{request.host}"):
            return flask.jsonify(error="only pages of this machine may ask"), 403
        return None

    @app.after_request
    def forbid_elsewhere(response: Any) -> Any:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"
        return response


def _explain_failures(app: "Flask") -> None:
    """Answer failures of the server in the form that the page shows."""
    import flask

    @app.errorhandler(500)
    def failed(_: Any) -> Any:
        return flask.jsonify(error="the server failed; its log says where"), 500

    @app.errorhandler(413)
    def too_large(_: Any) -> Any:
        return flask.jsonify(error=f"the file is larger than {MAX_BYTES // 2**20} MiB"), 413


class _Arriving(io.RawIOBase):
    """What a client sends within `SECONDS`, however slowly it comes."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self._end = time.monotonic() + SECONDS

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has come.

        Raises:
            TimeoutError: the time is over.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(SECONDS)  # of an answer


def make_server(app: "Flask", port: int) -> "BaseWSGIServer":
    """Make a server of the page for this machine only; its `serve_forever` runs it.

    It closes connections beyond `MAX_CONNECTIONS`, and those whose requests have not arrived within `SECONDS`.

    Args:
        app: from `create_app`.
        port: TCP port; 0 for any free one, see `server_port` of the result.

    Raises:
        OSError: the port is taken.
    """
    from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

    places = threading.BoundedSemaphore(MAX_CONNECTIONS)

    class Handler(WSGIRequestHandler):
        timeout = SECONDS  # of the answer

        def setup(self) -> None:
            super().setup()
            self.rfile = io.BufferedReader(_Arriving(self.connection))

    class Server(ThreadedWSGIServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return places.acquire(blocking=False)

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            try:
                super().process_request_thread(request, client_address)
            finally:
                places.release()

    try:
        return Server(HOST, port, app, Handler)
    except SystemExit as error:  # raised by werkzeug when the port is taken
        raise OSError(f"port {port} is taken: choose another one, or 0 for any that is free") from error
