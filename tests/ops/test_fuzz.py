"""The search for differences from float64 runs, and finds them; the long ones are slow."""

import os
import subprocess
import sys

import pytest
import torch

from querydet.ops.native import cpu_instruction_set
from tests.ops import fuzz
from tests.ops.registered import needs_extension
from tests.ops.test_ms_deform_attn_cpu import ROOT

ORDER = ("baseline", "avx2", "avx512")


def search(*arguments: str, kernels: str = "") -> "subprocess.CompletedProcess[str]":
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "QUERYDET_CPU": kernels}
    if not kernels:
        del variables["QUERYDET_CPU"]
    command = [sys.executable, "-m", "tests.ops.fuzz", *arguments]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=900)


@needs_extension
@pytest.mark.parametrize("check", fuzz.CHECKS)
def test_some_cases_agree(check):
    for seed in range(12):
        check(fuzz.Draw(seed))


@needs_extension
@pytest.mark.parametrize("check", fuzz.CHECKS)
def test_a_wrong_operator_is_found(check, monkeypatch):
    """One number of the result is another one."""

    class Wrong:
        def __getattr__(self, name):
            right = getattr(torch.ops.querydet, name)

            def wrong(*arguments):
                result = right(*arguments)
                spoilt = result[0] if isinstance(result, tuple) else result
                if spoilt.numel():
                    first = spoilt.view(-1)[:1]
                    spoilt.view(-1)[:1] = ~first if first.dtype == torch.bool else first + 1
                return result

            return wrong

    monkeypatch.setattr(fuzz, "OPS", Wrong())

    def run_many():
        for seed in range(40):
            check(fuzz.Draw(seed))

    with pytest.raises(AssertionError):
        run_many()


@needs_extension
@pytest.mark.slow
@pytest.mark.parametrize("kernels", ORDER)
def test_random_calls_agree_with_float64(kernels):
    if ORDER.index(kernels) > ORDER.index(cpu_instruction_set()):
        pytest.skip(f"this processor runs {cpu_instruction_set()}, not {kernels}")
    done = search("--seconds", os.environ.get("QUERYDET_FUZZ_SECONDS", "60"), kernels=kernels)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
