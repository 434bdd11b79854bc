"""Nothing in the package waits for ever: every call that may wait has a deadline, or a reason in the list below.

`docs/reliability.md` says what happens after each deadline.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_layout import ROOT, parse, python_files

# Calls that wait, and the number of positional arguments from which on one of them is the timeout; None: there is none.
TIMED = {
    "get": 2,
    "join": 1,
    "wait": 1,
    "wait_for": 2,
    "acquire": 2,
    "poll": 1,
    "select": 4,
    "result": 1,
    "results": 1,
    "communicate": 2,
    "urlopen": 3,
    "check_output": None,
    "check_call": None,
    "create_connection": 2,
    "init_process_group": None,
    "TCPStore": None,
    "file_lock": None,
}
UNTIMED = {
    *("recv", "recv_bytes", "recv_into", "recvmsg", "accept", "connect", "send_bytes", "sendall"),
    *(
        "waitpid",
        "wait3",
        "wait4",
        "waitid",
        "sigwait",
        "pause",
        "flock",
        "lockf",
        "serve_forever",
        "input",
        "urlretrieve",
    ),
    *("barrier", "monitored_barrier", "synchronize", "all_gather", "all_gather_object", "all_reduce", "broadcast"),
    *(
        "broadcast_object_list",
        "gather",
        "gather_object",
        "scatter",
        "reduce_scatter",
        "shared_random_seed",
        "full_tensor",
    ),
    *(
        "sleep",
        "fsync",
        "copyfileobj",
        "mkfifo",
        "check_call",
        "submit",
        "map_async",
        "snapshot_download",
        "hf_hub_download",
    ),
}
WITHOUT_ARGUMENTS = {
    "get",
    "join",
    "wait",
    "acquire",
    "poll",
    "result",
    "results",
    "shutdown",
}  # else they are of dicts, texts
OWNERS = {  # names that others have, too: whose calls wait
    "gather": ("comm", "dist"),
    "scatter": ("comm", "dist"),
    "select": ("select",),
}
PROGRAMS = {"run", "call", "Popen", "system", "popen"}  # of subprocess and os

EXCHANGE = "an exchange among processes ends with the group's timeout, rendezvous.TIMEOUT"
DEVICE = "waits for kernels of the GPU, which are finite"
PAUSE = "a pause in a loop with a fixed number of rounds"
LOCK = "iopath gives up after half an hour"
DISK = "ends with the call of the operating system"
ALLOWED = {
    ("querydet/analysis/timing.py", "synchronize"): DEVICE,
    ("querydet/cli/demo.py", "serve_forever"): "a server, until Ctrl-C",
    ("querydet/cli/slurm_train.py", "results"): "--wait: as long as the job, until Ctrl-C",
    ("querydet/cli/slurm_train.py", "submit"): "as long as sbatch, until Ctrl-C",
    ("querydet/data/columns/files.py", "fsync"): DISK,
    ("querydet/data/columns/json_lists.py", "while True"): "ends with the file",
    ("querydet/data/existing_data.py", "get"): "of a context variable",
    ("querydet/data/mapper.py", "sleep"): PAUSE,
    ("querydet/demo/server.py", "acquire"): "returns at once: blocking=False",
    ("querydet/demo/server.py", "recv_into"): "until the deadline of the request, by settimeout",
    ("querydet/data/media.py", "while True"): "ends with the video",
    ("querydet/data/stream.py", "while True"): "yields positions",
    ("querydet/data/synthetic.py", "file_lock"): LOCK,
    ("querydet/data/worker_process.py", "recv_bytes"): "in a thread, or in a worker, which is killed",
    ("querydet/data/worker_process.py", "send_bytes"): "in a thread or a worker; the program sends a few bytes",
    ("querydet/data/worker_process.py", "while True"): "in a thread, or in a worker, which is killed",
    ("querydet/data/workers.py", "while True"): "until worker_timeout",
    ("querydet/engine/accumulation.py", "all_gather"): EXCHANGE,
    ("querydet/engine/distributed/agreement.py", "all_reduce"): EXCHANGE,
    ("querydet/engine/distributed/launching.py", "synchronize"): EXCHANGE,
    ("querydet/engine/distributed/shared_tensors.py", "full_tensor"): EXCHANGE,
    ("querydet/engine/dry_run.py", "all_gather"): EXCHANGE,
    ("querydet/engine/dry_run.py", "synchronize"): EXCHANGE,
    ("querydet/engine/faults/bad_images.py", "all_gather"): EXCHANGE,
    ("querydet/engine/faults/nonfinite.py", "all_gather"): EXCHANGE,
    ("querydet/engine/faults/out_of_memory.py", "all_gather"): EXCHANGE,
    ("querydet/engine/faults/out_of_memory.py", "all_reduce"): EXCHANGE,
    ("querydet/engine/hooks/divergence.py", "all_gather"): EXCHANGE,
    ("querydet/engine/hooks/evaluating.py", "all_gather"): EXCHANGE,
    ("querydet/engine/hooks/matching_stability.py", "all_gather"): EXCHANGE,
    ("querydet/engine/hooks/saving.py", "synchronize"): EXCHANGE,
    ("querydet/engine/run/lock.py", "lockf"): "asks without waiting, until lock.WAIT",
    ("querydet/engine/run/lock.py", "sleep"): "between two tries, until lock.WAIT",
    ("querydet/engine/run/lock.py", "while True"): "each round is for another run that was refused meanwhile",
    ("querydet/engine/run/setup.py", "synchronize"): EXCHANGE,
    ("querydet/engine/training.py", "all_gather"): EXCHANGE,
    ("querydet/evaluation/coco_writer.py", "copyfileobj"): DISK,
    ("querydet/evaluation/per_image.py", "gather"): EXCHANGE,
    ("querydet/evaluation/per_image.py", "synchronize"): EXCHANGE,
    ("querydet/inference/like_sizes.py", "while True"): "ends with the items",
    ("querydet/model_zoo/download.py", "file_lock"): LOCK,
    ("querydet/model_zoo/download.py", "fsync"): DISK,
    ("querydet/model_zoo/download.py", "sleep"): PAUSE,
    ("querydet/model_zoo/zoo.py", "file_lock"): LOCK,
    ("querydet/utils/ahead.py", "result"): "as long as the caller would need for the work itself, until Ctrl-C",
    ("querydet/utils/ahead.py", "shutdown"): "for calls that have begun, each of an image's reading or writing",
    ("querydet/utils/ahead.py", "submit"): "puts work into a queue",
    ("querydet/utils/atomic.py", "fsync"): DISK,
    ("querydet/utils/transfer.py", "synchronize"): DEVICE,
}


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str, str]]:
    """Every call with the name of what is called and of what that belongs to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                yield node, node.func.attr, ast.unparse(node.func.value)
            elif isinstance(node.func, ast.Name):
                yield node, node.func.id, ""


def waits(tree: ast.AST) -> Iterator[str]:
    """Names of the calls that may wait without an end."""
    for call, name, owner in calls(tree):
        timed = any(keyword.arg in ("timeout", "timeout_sec") for keyword in call.keywords)
        if any(
            keyword.arg == "timeout" and isinstance(keyword.value, ast.Constant) and keyword.value.value is None
            for keyword in call.keywords
        ):
            timed = False
        if timed or (name in OWNERS and owner not in OWNERS[name]):
            continue
        number = len(call.args)
        if (
            (name in WITHOUT_ARGUMENTS and not number)
            or (name == "wait" and owner.endswith("connection") and number < 2)
            or name in UNTIMED
            or (name in PROGRAMS and owner in ("subprocess", "os"))
        ):
            yield name
        elif name in TIMED and name not in WITHOUT_ARGUMENTS:
            needed = TIMED[name]
            if needed is None or number < needed:
                yield name
    for node in ast.walk(tree):
        if isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and node.test.value:
            yield "while True"


@pytest.mark.parametrize(
    "text",
    [
        "queue.get()",
        "queue.get(timeout=None)",
        "thread.join()",
        "event.wait()",
        "multiprocessing.connection.wait(handles)",
        "lock.acquire()",
        "connection.recv_bytes()",
        "dist.barrier()",
        "comm.all_gather(x)",
        "fcntl.flock(file, 2)",
        "urllib.request.urlopen(url)",
        "urlopen(url)",
        "subprocess.run(['git'])",
        "subprocess.Popen(['git'])",
        "os.waitpid(pid, 0)",
        "time.sleep(1)",
        "future.result()",
        "file_lock(path)",
        "while True: pass",
        "while 1: pass",
    ],
)
def test_a_wait_without_a_deadline_is_found(text):
    assert list(waits(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        "queue.get(timeout=1)",
        "mapping.get(key)",
        "', '.join(names)",
        "os.path.join(a, b)",
        "thread.join(2.0)",
        "event.wait(timeout=3)",
        "multiprocessing.connection.wait(handles, 1)",
        "subprocess.run(['git'], timeout=3)",
        "urlopen(url, timeout=9)",
        "re.compile('').match('')",
        "while running: pass",
    ],
)
def test_what_ends_or_is_no_wait_is_not_found(text):
    assert not list(waits(ast.parse(text)))


def test_every_wait_of_the_package_has_a_deadline_or_a_reason():
    found = {(path, name) for path in python_files("querydet") for name in waits(parse(path))}
    assert sorted(found - set(ALLOWED)) == []
    assert sorted(set(ALLOWED) - found) == [], "no longer there"


def test_the_page_of_promises_lists_the_kinds_of_waits():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    section = page.partition("## Waits")[2].partition("\n## ")[0]
    for word in (
        "worker_timeout",
        "STOP_PATIENCE",
        "STOP_GRACE",
        "GRACE",
        "rendezvous.TIMEOUT",
        "lock.WAIT",
        "GIT_TIMEOUT",
        "NETWORK_SILENCE",
        "file_lock",
    ):
        assert word in section
    for constant in ("STOP_PATIENCE", "STOP_GRACE", "GIT_TIMEOUT", "NETWORK_SILENCE"):
        assert any(
            f"\n{constant} = " in Path(ROOT, path).read_text(encoding="utf-8") for path in python_files("querydet")
        )
