"""Downloads from a server that cuts, lies, changes its mind or has nothing."""

import hashlib
import os
import threading

import pytest

from querydet.model_zoo.download import Unavailable, download
from tests.model_zoo.server import serve

CONTENT = os.urandom(5_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "cache" / "model.pth")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def left(path):
    return {name for name in os.listdir(os.path.dirname(path)) if not name.endswith(".lock")}


def test_file_is_downloaded_once(path):
    with serve(CONTENT) as (url, told):
        for _ in range(2):
            assert download(url, path, sha256=DIGEST) == path
        assert len(told.asked) == 1
    assert read(path) == CONTENT
    assert left(path) == {"model.pth", "model.pth.json"}


def test_cut_connections_are_taken_up_where_they_broke(path):
    with serve(CONTENT, cuts=[1_000_000, 2_000_000]) as (url, told):
        download(url, path, sha256=DIGEST, wait=0)
    assert read(path) == CONTENT
    assert told.asked == ["", "bytes=1000000-", "bytes=3000000-"]


def test_next_call_goes_on_where_the_last_one_gave_up(path):
    with serve(CONTENT, cuts=[1_000_000, 500_000]) as (url, told):
        with pytest.raises(Unavailable, match="1,500,000 bytes are kept"):
            download(url, path, retries=1, wait=0)
        assert not os.path.exists(path)
        download(url, path, retries=0)
    assert read(path) == CONTENT
    assert told.asked[-1] == "bytes=1500000-"


@pytest.mark.parametrize("behaviour", [{"ranges": False}, {"etag": ""}, {"etag": 'W/"weak"'}])
def test_server_that_cannot_continue_starts_again(path, behaviour):
    with serve(CONTENT, cuts=[1_000_000], **behaviour) as (url, _):
        download(url, path, sha256=DIGEST, wait=0)
    assert read(path) == CONTENT


def test_parts_of_two_versions_are_not_joined(path):
    with serve(CONTENT[::-1], etag='"old"', cuts=[1_000_000]) as (url, _), pytest.raises(Unavailable):
        download(url, path, retries=0)
    with serve(CONTENT, etag='"new"') as (url, _):
        download(url, path, sha256=DIGEST, retries=0)
    assert read(path) == CONTENT


def test_part_that_is_complete_is_not_asked_for_again(path):
    with serve(CONTENT) as (url, told):
        download(url, path)
        os.rename(path, path + ".part")
        with open(path + ".part.json", "w") as file:
            file.write('{"version": "\\"v1\\""}')
        download(url, path, sha256=DIGEST)
        assert told.asked == ["", "bytes=5000000-"]
    assert read(path) == CONTENT


def test_wrong_bytes_are_refused_and_removed(path):
    with serve(b"x" + CONTENT) as (url, _), pytest.raises(ValueError, match=f"has the sha256 .*, not {DIGEST}"):
        download(url, path, sha256=DIGEST)
    assert not left(path)


def test_what_the_check_refuses_is_removed(path):
    def check(part):
        assert part != path
        raise ValueError("a web page")

    with serve(b"<html>") as (url, _), pytest.raises(ValueError, match="a web page"):
        download(url, path, check=check)
    assert not left(path)


@pytest.mark.parametrize("status", [404, 410])
def test_absent_file_is_said_at_once(path, status):
    with serve(CONTENT, statuses=[status]) as (url, told):
        with pytest.raises(FileNotFoundError, match=f"does not exist .* {status}"):
            download(url, path)
        assert len(told.asked) == 1
    assert not left(path)


def test_refusal_is_said_at_once_and_overload_waited_for(path):
    with serve(CONTENT, statuses=[403]) as (url, _), pytest.raises(Unavailable, match="refused by the server: 403"):
        download(url, path)
    with serve(CONTENT, statuses=[503, 429]) as (url, told):
        download(url, path, sha256=DIGEST, wait=0)
        assert len(told.asked) == 3
    assert read(path) == CONTENT


def test_no_server(path):
    with pytest.raises(Unavailable, match="could not be downloaded"):
        download("http://127.0.0.1:9/model.pth", path, retries=1, wait=0)


def test_damaged_file_in_the_cache_is_downloaded_again(path):
    with serve(CONTENT) as (url, told):
        download(url, path)  # no checksum known: the one of the first download counts
        with open(path, "r+b") as file:
            file.write(b"damage")
        download(url, path)
        assert len(told.asked) == 2
    assert read(path) == CONTENT


def test_two_at_once_download_once(path):
    with serve(CONTENT) as (url, told):
        threads = [threading.Thread(target=download, args=(url, path)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(told.asked) == 1
    assert read(path) == CONTENT


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/model.pth", "model.pth"])
def test_only_web_addresses_are_downloaded(path, url):
    with pytest.raises(ValueError, match="only http and https"):
        download(url, path)
