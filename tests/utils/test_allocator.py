"""Memory that was freed stays with the process, where glibc allocates."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from querydet.utils.allocator import VARIABLE, allocates_with_glibc, keep_freed_memory, keep_freed_memory_on

# Python without torch, so that a process starts quickly: the module's only use of torch is the device's type.
FAULTS = """
import ctypes, importlib.util, resource, sys, types
sys.modules["torch"] = types.SimpleNamespace(device=str)
spec = importlib.util.spec_from_file_location("allocator", "querydet/utils/allocator.py")
allocator = importlib.util.module_from_spec(spec)
spec.loader.exec_module(allocator)
kept = allocator.keep_freed_memory() and allocator.keep_freed_memory()
faults = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    memory = bytearray(b"1") * (64 << 20)
    del memory
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(kept, min(faults[1:]))
"""
glibc = pytest.mark.skipif(not allocates_with_glibc(), reason="another allocator than glibc's is in use")


def count_faults(**environment: str) -> tuple[bool, int]:
    """Return whether memory is kept, and the page faults of a second block of 64 MiB."""
    others = {name: value for name, value in os.environ.items() if name not in (VARIABLE, "LD_PRELOAD")}
    root = Path(__file__).parents[2]
    command = [sys.executable, "-S", "-c", FAULTS]
    done = subprocess.run(command, env=others | environment, cwd=root, capture_output=True, check=True, timeout=60)
    kept, faults = done.stdout.split()
    return kept == b"True", int(faults)


@glibc
def test_a_second_block_is_the_memory_of_the_first():
    kept, faults = count_faults()
    assert kept
    assert faults < 100  # of 16384 pages


@glibc
def test_the_environment_leaves_the_allocator_as_it_is():
    kept, faults = count_faults(**{VARIABLE: "system"})
    assert not kept
    assert faults > 10_000 or Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text().startswith("[always]")


def test_another_value_is_refused(monkeypatch):
    monkeypatch.setenv(VARIABLE, "jemalloc")
    with pytest.raises(ValueError, match="QUERYDET_MALLOC='jemalloc': set it to 'system'"):
        keep_freed_memory()


def test_models_on_a_gpu_change_nothing(monkeypatch):
    monkeypatch.setattr("querydet.utils.allocator.keep_freed_memory", pytest.fail)
    assert not keep_freed_memory_on("cuda:0")


@glibc
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_preloaded_allocator_is_left_alone(tmp_path):
    """As jemalloc, which has no `mallopt`, and as tcmalloc, which has one."""
    source = """
    #include <stddef.h>
    void *__libc_malloc(size_t);
    void *malloc(size_t size) { return __libc_malloc(size); }
    int mallopt(int option, int value) { __builtin_trap(); }
    """
    for name, text in (("jemalloc", source.split("int mallopt")[0]), ("tcmalloc", source)):
        (tmp_path / f"{name}.c").write_text(text)
        library = tmp_path / f"{name}.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / f"{name}.c"], check=True, timeout=60)
        assert not count_faults(LD_PRELOAD=str(library))[0]
