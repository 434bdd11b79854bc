"""The script for the first machine with a GPU, as far as it can be run without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.cuda_resources import describe, parse_report
from benchmarks.gpu_report import describe_stage, make_table

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_operator.sh"
STAGES = ["build", "tests", "memcheck", "racecheck", "initcheck", "synccheck", "ceilings", "benchmark"]


def run_script(*arguments, **variables):
    environment = {**os.environ, "PYTHON": sys.executable, **variables}
    return subprocess.run([SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: the script would use it")
def test_script_says_that_there_is_no_gpu(tmp_path):
    done = run_script(OUTPUT=str(tmp_path / "results.json"))
    assert done.returncode == 3
    assert "no GPU: build, tests, sanitizers, ceilings and benchmark were left out" in done.stdout
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_dry_run_goes_through_all_stages(tmp_path):
    output = tmp_path / "results.json"
    done = run_script("--dry-run", OUTPUT=str(output))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(output.read_text())
    assert report["dry_run"]
    assert [stage["stage"] for stage in report["stages"]] == STAGES
    results = {stage["stage"]: stage["result"] for stage in report["stages"]}
    assert results["tests"] == results["benchmark"] == "passed"
    assert results["memcheck"] == "left out"
    rows = report["benchmark"]["results"]
    assert {row["peer"] for row in rows} >= {"ours", "ours_fused", "ours_in_steps", "grid_sample"}
    assert all(row["right"] for row in rows if row["peer"].startswith("ours"))
    assert {"torch_ms_deform_attn", "deformops_cuda"} <= {*report["benchmark"]["missing_peers"]} | {
        row["peer"] for row in rows
    }


@pytest.mark.slow
def test_wrong_arguments_and_pythons_are_refused():
    assert run_script("--fast").returncode == 2
    done = run_script(PYTHON="/nowhere/python")
    assert done.returncode == 2
    assert "has no torch" in done.stdout


@pytest.mark.parametrize(("status", "result"), [(0, "passed"), (1, "failed"), (3, "left out"), (124, "out of time")])
def test_stage_says_what_became_of_it(tmp_path, status, result):
    (tmp_path / "memcheck.log").write_text("x" * 5000 + "the end")
    stage = describe_stage(tmp_path, "memcheck", status, 7)
    assert (stage["result"], stage["exit_status"], stage["seconds"]) == (result, status, 7)
    assert stage["log_end"].endswith("the end")
    assert len(stage["log_end"]) == 3000


def test_table_shows_failures_too():
    good = {"case": "decoder_900", "dtype": "float32", "peer": "ours", "errors": {"output": 3e-7}}
    good |= {"forward_us": 9.0, "forward_graph_us": 5.25, "backward_us": 21.0, "deterministic_backward_us": None}
    bad = {"case": "decoder_900", "dtype": "float32", "peer": "other", "failed": "RuntimeError: a|b"}
    table = make_table({"benchmark": {"results": [good, bad]}}).splitlines()
    assert table[2] == "| decoder_900 | float32 | ours | 5.2 | 21.0 |  | 3.0e-07 |"
    assert "RuntimeError: a/b" in table[3]


def test_compiler_report_is_read():
    report = """
ptxas info    : Compiling entry function '_Zkernel' for 'sm_90'
ptxas info    : Function properties for _Zkernel
    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 64 registers, used 0 barriers, 17408 bytes smem
ptxas info    : Compiling entry function '_Zother' for 'sm_90'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 15 registers, used 0 barriers
"""
    assert parse_report(report) == {
        "_Zkernel": {"registers": 64, "shared_bytes": 17408, "spilled_bytes": 28},
        "_Zother": {"registers": 15, "shared_bytes": 0, "spilled_bytes": 0},
    }


def test_kernel_names_are_read():
    name = (
        "void querydet::cuda::forward_kernel<querydet::cuda::FusedSamples<c10::BFloat16, float>, c10::BFloat16, float, "
        "8, 4>(querydet::cuda::Problem, querydet::cuda::FusedSamples<c10::BFloat16, float>, c10::BFloat16 const*)"
    )
    assert describe(name) == {
        "kernel": "forward",
        "operator": "fused",
        "value": "bfloat16",
        "channels_per_thread": 8,
        "threads_per_query": 4,
    }
