"""The page's server, without a browser."""

import io

import pytest

from querydet.demo.server import MAX_BYTES, create_app, make_server

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
        (content[:-2000], "0", "cannot be read as an image"),
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
    finally:
        (run_folder / "gone").rename(path)
    assert ask(client, picture.read_bytes(), "1").status_code == 200


def test_failures_of_the_model_are_answers(client, models, picture, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(models, "detect", fail)
    answer = ask(client, picture.read_bytes())
    assert answer.status_code == 500
    assert "RuntimeError: out of memory" in answer.get_json()["error"]


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
