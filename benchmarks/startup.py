"""Times what passes before the first result: imports, help, and the first iteration of a run.

    python -m benchmarks.startup                          # everything, five rounds
    python -m benchmarks.startup --rounds 3 --only help   # cases whose names have this word
    python -m benchmarks.startup --table                  # the written results as a Markdown table

Every case is a process of its own. All take turns, and medians are reported: of the seconds until the process ends, or
until a run has written its first metrics, and of the processor time that it took by then, with that of a data worker
left out. On a machine that others use too, the second number is the steadier one. What `import torch, torchvision`
takes is a case of its own. A first round, which draws the synthetic data and fills the caches of the disk, does not
count.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from querydet.cli.commands import COMMANDS
from querydet.utils.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "benchmarks" / "results" / "startup.json"
CONFIG = "configs/quick/dino_synthetic.py"
TORCH = "import torch, torchvision"
TRAINING = f"first iteration of {CONFIG}"
POLL = 0.01  # seconds between looks at the metrics of a run
DEADLINE = 600.0  # seconds of a case
Times = tuple[float, float]  # seconds, and seconds of the processor


def commands() -> dict[str, list[str]]:
    """Return the arguments of Python by case, the training apart."""
    imports = ("import querydet", TORCH, f"{TORCH}; from querydet import Predictor")
    scripts = ["train_net.py", *(f"tools/{path.name}" for path in sorted((ROOT / "tools").glob("*.py")))]
    helps = {f"querydet {name}".strip(): ["-m", "querydet", *name.split()] for name in ("", *COMMANDS)}
    helps |= {script: [script] for script in scripts}
    return {
        **{code: ["-c", code] for code in imports},
        **{f"{name} --help": [*argv, "--help"] for name, argv in helps.items()},
    }


def time_process(argv: Sequence[str], done: Callable[[], bool] = lambda: False) -> Times:
    """Run Python with these arguments until it ends, or until something else is done.

    Raises:
        RuntimeError: it fails, or takes longer than `DEADLINE`.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        command = [sys.executable, "-W", "ignore", *argv]
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        while True:
            finished, status, usage = os.wait4(process.pid, os.WNOHANG)
            seconds = time.perf_counter() - start
            ended = bool(finished)
            if ended or done() or seconds > DEADLINE:
                break
            time.sleep(POLL)
        if not ended:
            process.kill()
            _, _, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status) if ended else 0
        if process.returncode or (not ended and seconds > DEADLINE):
            output.seek(0)
            raise RuntimeError(f"{command} failed: {output.read()[-2000:].decode(errors='replace')}")
    return seconds, usage.ru_utime + usage.ru_stime


def time_training() -> Times:
    """Train on the CPU until the metrics of the first iteration are written."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / "metrics.json"
        changes = [f"train.output_dir={folder}", "train.log_period=1"]
        argv = ["-m", "querydet", "train", "--config-file", CONFIG, "--num-gpus", "0", *changes]
        return time_process(argv, lambda: metrics.exists() and metrics.stat().st_size > 0)


def measure(cases: Mapping[str, Callable[[], Times]], rounds: int) -> list[dict[str, Any]]:
    """Return the medians of every case; the first round does not count."""
    found: dict[str, list[Times]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name, run in cases.items():
            found[name].append(run())
            print(
                f"{turn}: {name}: {found[name][-1][0]:.2f} s, {found[name][-1][1]:.2f} s of the processor", flush=True
            )
    return [
        {
            "case": name,
            "seconds": round(statistics.median(wall for wall, _ in times[1:]), 3),
            "processor_seconds": round(statistics.median(cpu for _, cpu in times[1:]), 3),
        }
        for name, times in found.items()
    ]


def make_table(record: Mapping[str, Any]) -> str:
    """Return the results as a Markdown table: imports, the slowest help of each kind, and the training."""
    times = {row["case"]: (row["seconds"], row["processor_seconds"]) for row in record["rows"]}
    rows = {"`import querydet`": times["import querydet"], f"`{TORCH}`": times[TORCH]}
    beyond = zip(times[f"{TORCH}; from querydet import Predictor"], times[TORCH], strict=True)
    rows["`from querydet import Predictor`, beyond these"] = tuple(whole - torch for whole, torch in beyond)
    kinds = {
        "`querydet --help`": "querydet --",
        "`querydet COMMAND --help`": "querydet",
        "`tools/*.py --help`": "tools/",
    }
    for title, start in {**kinds, "`train_net.py --help`": "train_net.py"}.items():
        rows[title] = max(found for name, found in times.items() if name.startswith(start) and name.endswith("--help"))
    rows[f"first iteration of `{CONFIG}`, torch included"] = times[TRAINING]
    lines = [f"| {title} | {wall:.2f} | {cpu:.2f} |" for title, (wall, cpu) in rows.items()]
    return "\n".join(["| | seconds | of the processor |", "| --- | --- | --- |", *lines])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, write the results and print them as a table; or only print those of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="that count (default %(default)s)")
    parser.add_argument(
        "--only", default="", metavar="WORD", help="print cases with this word in their names, write none"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default %(default)s")
    parser.add_argument("--table", action="store_true", help="measure nothing, print the table of the file")
    options = parser.parse_args(argv)
    if not options.table:
        cases: dict[str, Callable[[], Times]] = {
            name: lambda argv=argv: time_process(argv)  # type: ignore[misc]
            for name, argv in commands().items()
        }
        cases[TRAINING] = time_training
        rows = measure({name: run for name, run in cases.items() if options.only in name}, options.rounds)
        if options.only:
            return
        command = shlex.join(["python", "-m", "benchmarks.startup", *(sys.argv[1:] if argv is None else argv)])
        origin = {**provenance(sys.argv), "command": command, "rounds": options.rounds}
        options.output.write_text(json.dumps({**origin, "rows": rows}, indent=1) + "\n")
    print(make_table(json.loads(options.output.read_text())))


if __name__ == "__main__":
    main()
