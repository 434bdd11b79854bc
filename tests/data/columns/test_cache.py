"""Columns between runs: found again when they are right, built again when not, by one process, and never half."""

import copy
import errno
import json
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import portalocker
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querydet.data.coco_records import ReadingRules, read_records
from querydet.data.columns import build as building
from querydet.data.columns import cache, collect, json_lists, read_columns, records, sealed
from querydet.data.columns.files import ColumnWriter
from tests.data.columns.random_files import write
from tests.data.outlined import outlined

RULES = ReadingRules()


@pytest.fixture
def path(tmp_path):
    """A json in a folder of its own."""
    (tmp_path / "data").mkdir()
    return write(tmp_path / "data" / "a.json", outlined())


@pytest.fixture
def builds(monkeypatch):
    """Counts builds."""
    done = []
    build = cache.build

    def count(*arguments):
        done.append(arguments[0])
        return build(*arguments)

    monkeypatch.setattr(cache, "build", count)
    return done


def read(path, rules=RULES):
    return list(read_columns(path, "images", rules).records)


def expected(path, rules=RULES):
    return list(read_records(path, "images", rules).records)


def columns_of(path):
    """The folders with columns beside a json."""
    folder = Path(path).parent / ".querydet_cache"
    return [entry for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []


def remains(path):
    """What lies beside a json and its columns."""
    return [entry.name for entry in columns_of(path) if cache.BUILDING in entry.name]


def test_columns_are_built_once(path, builds):
    first = read(path)
    assert read(path) == first == expected(path)
    assert len(builds) == 1
    (folder,) = columns_of(path)
    assert not (folder / "raw").exists()


def test_other_rules_have_other_columns(path, builds):
    rules = [
        RULES,
        ReadingRules(masks=True),
        ReadingRules(classes=("dog", "cat", "x")),
        ReadingRules(check_boxes=False),
    ]
    for _ in range(2):
        for each in rules:
            assert len(read(path, each)) == 8
    assert len(builds) == len(rules) == len(columns_of(path))


def test_a_changed_file_is_read_again(path, builds):
    read(path)
    content = outlined(seed=1)
    write(Path(path), content)
    assert read(path) == expected(path)
    assert len(builds) == 2
    assert len(columns_of(path)) == 1
    assert remains(path) == []


def test_a_change_that_hides_is_seen(path, builds):
    """The same size, and the times of before."""
    read(path)
    status = os.stat(path)
    text = Path(path).read_text()
    Path(path).write_text(text.replace('"cat"', '"bat"'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert os.stat(path).st_size == status.st_size
    assert read_columns(path, "images", RULES).classes.names == ["bat", "dog"]
    assert len(builds) == 2


def test_a_touched_file_is_recognised_by_its_bytes(path, builds, monkeypatch):
    read(path)
    os.utime(path, (1, 1))
    assert read(path) == expected(path)
    assert len(builds) == 1
    monkeypatch.setattr(cache, "hash_file", lambda name: pytest.fail("the new times were not kept"))
    read(path)


@pytest.mark.parametrize("way", [shutil.copytree, shutil.move])
def test_a_folder_can_move_with_its_columns(path, builds, tmp_path, way):
    read(path)
    way(os.path.dirname(path), str(tmp_path / "elsewhere"))
    assert len(read(str(tmp_path / "elsewhere" / "a.json"))) == 8
    assert len(builds) == 1


def test_files_of_one_stem_have_columns_each(path, builds):
    other = write(Path(path).with_suffix(".JSON"), outlined(seed=1))
    for _ in range(2):
        assert read(path) != read(other)
    assert len(builds) == 2


def test_a_link_is_the_file_that_it_leads_to(path, builds, tmp_path):
    link = tmp_path / "link.json"
    link.symlink_to(path)
    assert read(str(link)) == expected(path)
    write(Path(path), outlined(seed=1))
    assert read(str(link)) == expected(path)
    assert len(builds) == 2


def test_a_folder_of_the_users_choice(path, builds, tmp_path, monkeypatch):
    """Files of one name in two folders have columns of their own, and a file has one set, whatever path leads to it."""
    monkeypatch.setenv("QUERYDET_CACHE", str(tmp_path / "chosen"))
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other" / "a.json", outlined(seed=1))
    (tmp_path / "link").symlink_to(tmp_path / "other")
    for _ in range(2):
        assert read(path) == expected(path)
        assert read(other) == read(str(tmp_path / "link" / "a.json")) == expected(other)
    assert len(builds) == 2
    assert columns_of(path) == []


def test_relative_folders_are_those_of_the_start(path, monkeypatch):
    """A data worker may run elsewhere."""
    for variable, value in (("QUERYDET_CACHE", "chosen"), ("QUERYDET_CACHE", "~/chosen"), ("XDG_CACHE_HOME", "home")):
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            assert all(map(os.path.isabs, cache._places(path, RULES)))
            assert "~" not in cache._places(path, RULES)[-1]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.json does not exist"):
        read(str(tmp_path / "no.json"))


# --- damage


def other_version(path):
    (folder,) = columns_of(path)
    content = sealed.read_sealed(str(folder / records.DESCRIPTION))
    sealed.write_sealed(str(folder / records.DESCRIPTION), {**content, "version": building.VERSION + 1, "new": 1})


def truncated(path):
    (folder,) = columns_of(path)
    with open(folder / "box.column", "r+b") as file:
        file.truncate(100)


def missing(path):
    os.remove(columns_of(path)[0] / "crowd.column")


def unsorted(path):
    file = columns_of(path)[0] / "image_start.column"
    data = file.read_bytes()
    file.write_bytes(data[:8] + data[16:24] + data[8:16] + data[24:])


def a_folder_in_place(path):
    missing(path)
    os.mkdir(columns_of(path)[0] / "crowd.column")


def no_description(path):
    os.remove(columns_of(path)[0] / records.DESCRIPTION)


def empty_description(path):
    (columns_of(path)[0] / records.DESCRIPTION).write_text("")


def a_file_in_place(path):
    (folder,) = columns_of(path)
    shutil.rmtree(folder)
    folder.write_text("no folder")


@pytest.mark.parametrize(
    "change",
    [
        other_version,
        truncated,
        missing,
        unsorted,
        a_folder_in_place,
        no_description,
        empty_description,
        a_file_in_place,
    ],
)
def test_damaged_columns_are_built_again(path, builds, caplog, change):
    before = read(path)
    change(path)
    assert read(path) == before
    assert len(builds) == 2
    assert sum("cannot be used" in text for text in warnings_of(caplog)) == (change is not a_file_in_place)
    caplog.clear()
    assert read(path) == before
    assert len(builds) == 2
    assert warnings_of(caplog) == []
    assert remains(path) == []


def warnings_of(caplog):
    """Other tests may have set the level of the log, so that it has notes too."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value, place=()):
    """All places of a json."""
    yield place
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*place, key))


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("described") / "a.json", outlined())
    read_columns(path, "images", RULES)
    (folder,) = columns_of(path)
    return path, folder / records.DESCRIPTION, json.loads((folder / records.DESCRIPTION).read_text())


@settings(max_examples=40, deadline=None)
@given(data=st.data(), value=JSON)
def test_anything_anywhere_in_the_description_is_noticed(described, data, value):
    path, file, content = described
    changed = copy.deepcopy(content)
    *parents, last = data.draw(st.sampled_from([place for place in places(content) if place]))
    target = changed
    for key in parents:
        target = target[key]
    target[last] = value
    file.write_text(json.dumps(changed))
    (folder,) = columns_of(path)
    found = cache._open(str(folder), path, "images", RULES)
    assert (found is None) == (json.dumps(changed, sort_keys=True) != json.dumps(content, sort_keys=True))


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()))
def test_garbage_in_place_of_the_description_is_noticed(described, data):
    path, file, _ = described
    file.write_bytes(data)
    (folder,) = columns_of(path)
    assert cache._open(str(folder), path, "images", RULES) is None


# --- a build that ends early


class Killed(BaseException):
    """A kill, as far as this process is concerned."""


@pytest.mark.parametrize("step", range(0, 40, 5))
def test_a_build_that_was_killed_leaves_nothing_that_is_read(path, builds, step):
    """Ended without cleaning up after any written piece, file or folder; the next build does it."""
    process = multiprocessing.get_context("fork").Process(target=_build_until, args=(path, step))
    process.start()
    process.join(60)
    assert process.exitcode in (0, 9)
    if process.exitcode == 9:
        assert not builds
    assert read(path) == expected(path)
    assert remains(path) == []
    assert len(columns_of(path)) == 1


def _build_until(path, step):
    """Exits at the given call that changes the disk."""
    calls = [0]

    def stop(function):
        def call(*arguments, **options):
            calls[0] += 1
            if calls[0] > step:
                os._exit(9)
            return function(*arguments, **options)

        return call

    for module, name in ((os, "rename"), (os, "replace"), (os, "fsync"), (os, "mkdir"), (shutil, "rmtree")):
        setattr(module, name, stop(getattr(module, name)))
    ColumnWriter.append = stop(ColumnWriter.append)
    read_columns(path, "images", RULES)
    os._exit(0)


@pytest.mark.slow  # new processes
def test_a_build_that_is_killed_at_any_time(tmp_path):
    path = write(tmp_path / "a.json", outlined(count=6000))
    program = (
        "import sys; from querydet.data.coco_records import ReadingRules; from querydet.data.columns import "
        "read_columns; print(1, flush=True); read_columns(sys.argv[1], 'images', ReadingRules())"
    )
    for wait in (0.0, 0.05, 0.1, 0.2, 0.4):
        with subprocess.Popen([sys.executable, "-W", "ignore", "-c", program, path], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
            process.wait(30)
    assert read(path) == expected(path)
    assert remains(path) == []


def failing(error, module, name, monkeypatch, after=3):
    """Lets a function fail after some calls."""
    function, calls = getattr(module, name), []

    def fail(*arguments, **options):
        calls.append(name)
        if len(calls) > after:
            raise error
        return function(*arguments, **options)

    monkeypatch.setattr(module, name, fail)


@pytest.mark.parametrize(
    ("module", "name", "after"), [(ColumnWriter, "append", 5), (os, "fsync", 2), (os, "rename", 0), (os, "mkdir", 1)]
)
def test_a_full_disk_is_named_and_nothing_stays(path, monkeypatch, module, name, after):
    before = Path(path).read_bytes()
    os.makedirs(Path(path).parent / ".querydet_cache")
    with monkeypatch.context() as patch:
        failing(OSError(errno.ENOSPC, "No space left on device"), module, name, patch, after)
        with pytest.raises(OSError, match=r"a\.json cannot be written to .*No space left.*QUERYDET_CACHE") as error:
            read(path)
    assert error.value.errno == errno.ENOSPC
    assert columns_of(path) == []
    assert Path(path).read_bytes() == before
    assert read(path) == expected(path)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_limit_of_the_system_is_a_full_disk(path):
    process = multiprocessing.get_context("fork").Process(target=_build_within, args=(path, 500))
    process.start()
    process.join(60)
    assert process.exitcode == 3
    assert columns_of(path) == []


def _build_within(path, limit):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        read_columns(path, "images", RULES)
    except OSError as error:
        os._exit(3 if "cannot be written" in str(error) else 4)
    os._exit(0)


def test_an_interrupted_build_cleans_up(path, monkeypatch):
    with monkeypatch.context() as patch:
        failing(KeyboardInterrupt(), ColumnWriter, "append", patch)
        with pytest.raises(KeyboardInterrupt):
            read(path)
    assert columns_of(path) == []


def test_a_refused_file_leaves_nothing(path):
    content = outlined()
    content["annotations"][0]["image_id"] = 77
    write(Path(path), content)
    with pytest.raises(ValueError, match="unknown image_id"):
        read(path)
    assert columns_of(path) == []


def test_columns_of_before_stay_when_the_new_file_is_refused(path, builds):
    """The file may be restored."""
    text = Path(path).read_text()
    before = read(path)
    Path(path).write_text("{")
    with pytest.raises(ValueError, match="not valid json"):
        read(path)
    Path(path).write_text(text)
    assert read(path) == before
    assert len(builds) == 2


# --- a file that changes while it is read


@pytest.mark.parametrize("change", ["append", "replace", "remove", "break"])
def test_a_file_that_changes_while_it_is_read_is_refused(path, monkeypatch, change):
    add = collect._add_annotations

    def add_and_change(*arguments):
        if change == "append":
            with open(path, "a") as file:
                file.write(" ")
        elif change == "replace":
            write(Path(path + ".new"), outlined(seed=2))
            os.replace(path + ".new", path)
        elif change == "remove":
            os.remove(path)
        else:
            with open(path, "r+") as file:
                file.seek(60)
                file.write("x" * 2000)
        return add(*arguments)

    monkeypatch.setattr(collect, "_add_annotations", add_and_change)
    monkeypatch.setattr(json_lists, "PIECE", 50)
    with pytest.raises(ValueError, match="changed while it was read: start again"):
        read(path)
    assert columns_of(path) == []


def test_a_file_that_changes_after_it_was_read_is_refused(path, monkeypatch):
    build = cache.build

    def build_and_change(*arguments):
        build(*arguments)
        write(Path(path), outlined(seed=2))

    monkeypatch.setattr(cache, "build", build_and_change)
    with pytest.raises(ValueError, match="changed while it was read: start again"):
        read(path)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), PermissionError(13, "Permission denied")])
def test_a_file_that_cannot_be_read_is_not_a_full_disk(path, monkeypatch, error):
    class File:
        def __init__(self, file):
            self._file, self.calls = file, 0

        def __enter__(self):
            return self

        def __exit__(self, *rest):
            self.close()

        def read(self, size):
            self.calls += 1
            if self.calls > 2:
                raise error
            return self._file.read(size)

        def seek(self, place):
            return self._file.seek(place)

        def close(self):
            self._file.close()

    monkeypatch.setattr(json_lists, "PIECE", 50)
    opened = json_lists.open_json
    monkeypatch.setattr(json_lists, "open_json", lambda name: File(opened(name)))
    with pytest.raises(ValueError, match=rf"annotation file .*a\.json cannot be read: .*{error.strerror}"):
        read(path)
    assert columns_of(path) == []


# --- folders that cannot be written


def refuse(folders, monkeypatch):
    """Makes folders read-only, also for root."""
    create, make = cache.tempfile.TemporaryFile, os.makedirs

    def within(path):
        return any(os.path.abspath(path).startswith(str(folder)) for folder in folders)

    def make_file(*arguments, dir, **options):
        if within(dir):
            raise OSError(errno.EROFS, "Read-only file system")
        return create(*arguments, dir=dir, **options)

    def make_folder(path, *arguments, **options):
        if within(path) and not os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return make(path, *arguments, **options)

    monkeypatch.setattr(cache.tempfile, "TemporaryFile", make_file)
    monkeypatch.setattr(cache.os, "makedirs", make_folder)


def test_beside_a_read_only_folder_the_users_cache_is_used(path, builds, tmp_path, monkeypatch):
    refuse([os.path.dirname(path)], monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert read(path) == read(path) == expected(path)
    assert len(builds) == 1
    assert columns_of(path) == []
    assert len([*(tmp_path / "home" / "querydet").glob("a-*/columns.json")]) == 1


def test_columns_in_a_read_only_folder_are_used(path, builds, tmp_path, monkeypatch):
    read(path)
    refuse([tmp_path], monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert read(path) == expected(path)
    os.utime(path, (1, 1))  # the new times cannot be kept

    def refuse_file(name):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(sealed, "atomic_write", refuse_file)
    assert read(path) == expected(path)
    assert len(builds) == 1


def test_no_folder_that_can_be_written_is_an_error(path, tmp_path, monkeypatch):
    refuse([tmp_path], monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    with pytest.raises(OSError, match=r"\.querydet_cache \(Permission denied\).*home/querydet.*Set QUERYDET_CACHE"):
        read(path)
    monkeypatch.setenv("QUERYDET_CACHE", str(tmp_path / "chosen"))
    with pytest.raises(OSError, match=r"chosen \(Permission denied\).*dataset\.cache=False"):
        read(path)


def test_others_can_read_what_was_built(path):
    """A folder of mkdtemp could be opened by its owner alone."""
    read(path)
    (folder,) = columns_of(path)
    mask = os.umask(0)
    os.umask(mask)
    assert folder.stat().st_mode & 0o777 == 0o777 & ~mask


# --- several processes


def test_a_second_process_waits_and_does_not_build(path, builds, caplog, monkeypatch):
    """It says what it waits for."""
    folder = cache._places(path, RULES)[0]
    os.makedirs(os.path.dirname(folder))
    lock = portalocker.Lock(folder + cache.LOCK, "a", timeout=0)
    lock.acquire()
    wait = cache.portalocker.Lock

    def build_meanwhile(name, mode, timeout, **options):
        if timeout:  # the first one is done, and goes
            os.mkdir(folder)
            building.build(path, "images", RULES, folder)
            lock.release()
        return wait(name, mode, timeout=timeout, **options)

    monkeypatch.setattr(cache.portalocker, "Lock", build_meanwhile)
    with caplog.at_level(logging.INFO):
        assert read(path) == expected(path)
    assert "waiting for another process that builds" in caplog.text
    assert builds == []


def test_waiting_ends(path, monkeypatch):
    folder = cache._places(path, RULES)[0]
    os.makedirs(os.path.dirname(folder))
    monkeypatch.setattr(cache, "MOST_WAIT", 0.05)
    monkeypatch.setattr(cache, "POLL", 0.01)
    with portalocker.Lock(folder + cache.LOCK, "a", timeout=0), pytest.raises(TimeoutError, match="end it if it hangs"):
        read(path)


def test_a_disk_without_locks_is_named_at_once(path, monkeypatch):
    """As some network storage is; nobody is waited for."""

    def refuse(*arguments):
        raise portalocker.LockException(OSError(errno.ENOLCK, "No locks available"))

    monkeypatch.setattr("portalocker.portalocker.LOCKER", type("Locker", (), {"lock": refuse, "unlock": refuse}))
    with pytest.raises(OSError, match=r"querydet_cache cannot be locked .*No locks available.*set QUERYDET_CACHE"):
        read(path)


def _wait_and_read(path, queue):
    queue.put(len(read_columns(path, "images", RULES).records))


def test_a_waiting_process_builds_when_the_first_one_was_killed(path):
    """The system releases the lock."""
    context = multiprocessing.get_context("fork")
    holding, queue = context.Event(), context.Queue()
    first = context.Process(target=_hold, args=(path, holding))
    first.start()
    assert holding.wait(30)
    second = context.Process(target=_wait_and_read, args=(path, queue))
    second.start()
    time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    assert queue.get(timeout=60) == 8
    for process in (first, second):
        process.join(60)
    assert remains(path) == []


def _hold(path, holding):
    def build(*arguments):
        holding.set()
        time.sleep(60)

    cache.build = build
    read_columns(path, "images", RULES)


def _read_slowly(path, started, queue):
    build = cache.build

    def count(*arguments):
        queue.put("built")
        time.sleep(0.2)
        return build(*arguments)

    cache.build = count
    started.wait(30)
    queue.put(len(read_columns(path, "images", RULES).records))


def test_processes_at_once_build_once(path):
    context = multiprocessing.get_context("fork")
    started, queue = context.Event(), context.Queue()
    processes = [context.Process(target=_read_slowly, args=(path, started, queue)) for _ in range(4)]
    for process in processes:
        process.start()
    started.set()
    found = [queue.get(timeout=60) for _ in range(5)]
    for process in processes:
        process.join(60)
    assert sorted(map(str, found)) == ["8", "8", "8", "8", "built"]


def test_a_reader_keeps_what_it_opened_while_it_is_replaced(path):
    before = read_columns(path, "images", RULES).records
    listed = list(before)
    write(Path(path), outlined(seed=1))
    assert read(path) != listed
    assert list(before) == listed


def test_columns_that_are_replaced_while_they_are_opened_are_not_mixed(path, monkeypatch, builds):
    """The description of one build with the numbers of the next: all sizes fit."""
    read(path)
    write(Path(path), outlined(seed=1))
    os.utime(path, (1, 1))
    stale = building.read_description(cache._places(path, RULES)[0])
    read(path)
    with pytest.raises(records.ColumnsError, match="built again from another file"):
        stale.load(cache._places(path, RULES)[0], "images")
