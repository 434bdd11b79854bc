"""Contestants for tests of `benchmarks.turns`; imports nothing that takes time."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def sleeper(seconds: float, log: str = "", result: Any = None) -> Callable[[], Any]:
    """Sleeps, and appends when it began and ended to a file."""

    def run() -> Any:
        start = time.monotonic()
        time.sleep(seconds)
        if log:
            with Path(log).open("a") as file:
                file.write(f"{os.getpid()} {start} {time.monotonic()}\n")
        return result

    return run


def restless(log: str) -> Callable[[], None]:
    """Has a thread that never waits for its turn, and writes when it was awake."""

    def write() -> None:
        while True:
            with Path(log).open("a") as file:
                file.write(f"{time.monotonic()}\n")
            time.sleep(0.002)

    threading.Thread(target=write, daemon=True).start()
    return lambda: time.sleep(0.02)


def talkative() -> Callable[[], None]:
    """Prints to the standard output, as libraries do."""
    print("building")
    return lambda: print("running")


def environment(names: list[str]) -> Callable[[], dict[str, str | None]]:
    """Returns variables of the environment."""
    return lambda: {name: os.environ.get(name) for name in names}


def unbuildable() -> Callable[[], None]:
    raise ValueError("it takes squares\nand says more")


def dying(calls: int) -> Callable[[], None]:
    """Ends its process at a call, the first being 1; at 0 while it is built."""
    left = [calls]

    def run() -> None:
        left[0] -= 1
        if left[0] <= 0:
            os._exit(3)

    if calls == 0:
        run()
    return run


def failing(calls: int) -> Callable[[], None]:
    """Raises at a call, the first being 1."""
    left = [calls]

    def run() -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise RuntimeError("out of memory")

    return run
