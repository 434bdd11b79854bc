"""The page's server, without a browser."""

import contextlib
import http.client
import io
import socket
import threading
import time

import pytest

from querydet.demo import server as demo_server
from querydet.demo.detection import NoModelError
from querydet.demo.server import MAX_BYTES, MAX_REQUESTS, create_app, make_server

HEADERS = {"Host": "127.0.0.1:7860"}


@pytest.fixture
def client(models):
    pytest.importorskip("flask", reason="needs Flask: pip install 'querydet[demo]'")
    return create_app(models, 0.4).test_client()


def ask(client, content, model="0", headers=HEADERS):
    data = {"image": (io.BytesIO(content), "photo.png"), "model": model}
    return client.post("/detect", data=data, headers=headers)


def test_the_server_answers_pages_of_this_machine_alone(client, picture):
    settings = client.get("/settings", headers=HEADERS).get_json()
    assert (len(settings["models"]), settings["threshold"]) == (2, 0.4)
    answer = ask(client, picture.read_bytes())
    assert answer.status_code == 200
    assert answer.get_json()["width"] == 120
    assert ask(client, picture.read_bytes(), headers={**HEADERS, "Origin": "http://127.0.0.1:7860"}).status_code == 200
    for headers in ({"Host": "elsewhere.example"}, {**HEADERS, "Origin": "https://elsewhere.example"}):
        assert ask(client, picture.read_bytes(), headers=headers).status_code == 403
    page = client.get("/", headers=HEADERS)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert b"http://" not in page.data  # nothing from elsewhere
    assert b"https://" not in page.data


def test_bad_requests_say_why(client, picture):
    content = picture.read_bytes()
    for body, model, message in (
        (b"text", "0", "no image"),
        (content[:-2000], "0", "cannot be read as an image: it is damaged"),
        (content, "7", "no model 7: they are 0 to 1"),
        (content, "x", "the number of a 'model'"),
    ):
        answer = ask(client, body, model)
        assert answer.status_code == 400
        assert message in answer.get_json()["error"]
    assert client.post("/detect", headers=HEADERS).status_code == 400
    large = ask(client, bytes(MAX_BYTES + 1))
    assert large.status_code == 413
    assert "larger than 64 MiB" in large.get_json()["error"]


def test_a_checkpoint_that_goes_away_is_an_answer(client, models, run_folder, picture):
    path = run_folder / "model_0000001.pth"
    path.rename(run_folder / "gone")
    try:
        answer = ask(client, picture.read_bytes(), "1")
        assert answer.status_code == 400
        assert "model_0000001.pth" in answer.get_json()["error"]
        assert str(run_folder) not in answer.get_json()["error"]
    finally:
        (run_folder / "gone").rename(path)
    assert ask(client, picture.read_bytes(), "1").status_code == 200


def test_failures_of_the_model_are_answers(client, models, picture, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of memory at /home/somebody")

    monkeypatch.setattr(models, "detect", fail)
    answer = ask(client, picture.read_bytes())
    assert answer.status_code == 500
    assert answer.get_json()["error"] == "the server failed; its log says where"


def test_nobody_forges_lines_of_the_log(client, caplog):
    for name in ("filename*=UTF-8''photo.png%0AERROR%20forged%1B%5B2J", 'filename="photo.png\x1b[2J\u2028forged"'):
        body = f'--x\r\nContent-Disposition: form-data; name="image"; {name}\r\n\r\ntext\r\n--x--\r\n'.encode()
        kind = "multipart/form-data; boundary=x"
        assert client.post("/detect", data=body, content_type=kind, headers=HEADERS).status_code == 400
    client.get("/static/a%0Aforged%00", headers=HEADERS)
    client.post("/detect", data={"model": "0\nforged"}, headers=HEADERS)
    assert caplog.text.count("photo.png") == 2
    assert not [record for record in caplog.records if not record.getMessage().isprintable()]


def test_words_of_errors_stay_in_the_log(client, models, picture, monkeypatch, caplog):
    def fail(*_):
        raise ValueError("no model in /home/somebody\nforged")

    monkeypatch.setattr(models, "_load", fail)
    answer = ask(client, picture.read_bytes())
    assert answer.status_code == 400
    assert "somebody" not in answer.get_data(as_text=True)
    assert "| ValueError: no model in /home/somebody" in caplog.text
    assert "\nforged" not in caplog.text


def test_more_requests_than_the_memory_is_for_are_turned_away(client, models, picture, monkeypatch):
    inside, answers = threading.Barrier(MAX_REQUESTS + 1), []
    done = threading.Event()

    def detect(*_):
        inside.wait(timeout=20)
        done.wait(timeout=20)
        raise NoModelError("x")

    monkeypatch.setattr(models, "detect", detect)
    content, app = picture.read_bytes(), client.application
    threads = [
        threading.Thread(target=lambda: answers.append(ask(app.test_client(), content).status_code))
        for _ in range(MAX_REQUESTS)
    ]
    for thread in threads:
        thread.start()
    inside.wait(timeout=20)
    assert ask(client, content).status_code == 503
    done.set()
    for thread in threads:
        thread.join()
    assert answers == [400] * MAX_REQUESTS


@pytest.mark.parametrize("model", ["²", "9" * 5000, "-1", "0x1", "٣"])
def test_numbers_of_models_are_plain(client, picture, model):
    answer = ask(client, picture.read_bytes(), model)
    assert answer.status_code == 400
    assert "the number of a 'model'" in answer.get_json()["error"]


def test_settings_are_checked(models):
    pytest.importorskip("flask", reason="needs Flask: pip install 'querydet[demo]'")
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\]"):
        create_app(models, 2)
    first = make_server(create_app(models), 0)
    try:
        assert first.server_address[0] == "127.0.0.1"
        with pytest.raises(OSError, match=f"port {first.server_port} is taken"):
            make_server(create_app(models), first.server_port)
    finally:
        first.server_close()


@contextlib.contextmanager
def serving(models):
    pytest.importorskip("flask", reason="needs Flask: pip install 'querydet[demo]'")
    server = make_server(create_app(models), 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def begin_request(port):
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.sendall(
        b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 1000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n" % port
    )
    return client


def drip(client, seconds):
    """Send a byte at a time; return when the server has closed the connection, None if it has not."""
    start = time.monotonic()
    client.settimeout(0.05)
    while time.monotonic() - start < seconds:
        try:
            client.sendall(b"a")
            if not client.recv(4096):
                return time.monotonic() - start
        except TimeoutError:
            continue
        except OSError:
            return time.monotonic() - start
    return None


def settings_status(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/settings")
    return connection.getresponse().status


def test_slow_clients_hold_no_places(models, picture, monkeypatch):
    with serving(models) as port, contextlib.ExitStack() as stack:
        for _ in range(MAX_REQUESTS):
            stack.enter_context(begin_request(port))
        time.sleep(0.3)
        body = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n0\r\n--x--\r\n'
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("POST", "/detect", body, {"Content-Type": "multipart/form-data; boundary=x"})
        assert connection.getresponse().status == 400  # not 503


def test_a_request_has_to_arrive_within_a_time(models, monkeypatch):
    monkeypatch.setattr(demo_server, "SECONDS", 1.0)
    with serving(models) as port:
        with begin_request(port) as client:
            assert 0.5 < drip(client, 10) < 5
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /settings HTTP/1.1\r\nX-Slow: ")
            assert 0.5 < drip(client, 10) < 5
        assert settings_status(port) == 200


def test_connections_are_counted(models, monkeypatch):
    monkeypatch.setattr(demo_server, "MAX_CONNECTIONS", 3)
    with serving(models) as port, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(begin_request(port)) for _ in range(3)]
        with pytest.raises((http.client.HTTPException, OSError)):
            settings_status(port)
        clients[0].close()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(http.client.HTTPException, OSError):
                assert settings_status(port) == 200
                return
            time.sleep(0.05)
        raise AssertionError("the place of a closed connection stays taken")
