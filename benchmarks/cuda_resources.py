"""Compiles the CUDA kernels for several GPUs and records the resources that they need, with the toolkit and no GPU.

    python benchmarks/cuda_resources.py                       # sm_80, sm_90 and sm_100
    python benchmarks/cuda_resources.py --architectures 90
    python benchmarks/cuda_resources.py --table               # the written results as Markdown, for ops/README.md

Registers, spills and shared memory are reported by the compiler (`-Xptxas -v`). Instructions are counted in the machine
code: all of the kernel, 16-byte loads from global memory (`LDG.E.128`), reductions in global memory (`RED`), and
those that add four floats at once. `cuobjdump` comes with the toolkit or with Triton; without it nothing is counted.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from querydet.utils.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "ops" / "csrc" / "cuda"
OUTPUT = ROOT / "benchmarks" / "results" / "cuda_resources.json"
TYPES = {"c10::Half": "float16", "c10::BFloat16": "bfloat16", "float": "float32", "double": "float64"}


def find_tool(name: str) -> str | None:
    """Find a program of the CUDA toolkit: in CUDA_HOME, in /usr/local/cuda, on PATH, or in Triton's package."""
    places = [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin" / name, Path("/usr/local/cuda/bin") / name]
    found = next((str(place) for place in places if place.is_file()), None) or shutil.which(name)
    spec = find_spec("triton")
    if found is None and spec is not None and spec.origin is not None:
        carried = Path(spec.origin).parent / "backends" / "nvidia" / "bin" / name
        found = str(carried) if carried.is_file() else None
    return found


def compile_command(nvcc: str, architecture: str, source: Path, target: Path) -> list[str]:
    """Return the command that compiles only device code, with the flags of setup.py."""
    from torch.utils.cpp_extension import include_paths

    sys.path.insert(0, str(ROOT))
    import setup as project  # the project's setup.py

    flags = [*project.NVCC_FLAGS, "-DUSE_CUDA", f"-DTORCH_TARGET_VERSION={project.TORCH_TARGET_VERSION}"]
    folders = [*include_paths(), sysconfig.get_path("include")]
    includes = [part for folder in folders for part in ("-isystem", folder)]
    kind = ["-cubin", f"-arch=sm_{architecture}", "-Xptxas", "-v"]
    return [nvcc, *flags, *includes, *kind, str(source), "-o", str(target)]


def describe(name: str) -> dict[str, Any]:
    """Parse a kernel's name: kernel, source of samples, type of value, channels per thread, threads per query."""
    kernel = re.search(r"querydet::cuda::(\w+)_kernel<(.*)>\(", name)
    if kernel is None:
        return {"kernel": name[:120]}
    arguments = kernel.group(2)
    result: dict[str, Any] = {"kernel": kernel.group(1)}
    if "Samples<" in arguments:
        result["operator"] = "fused" if "FusedSamples<" in arguments else "given"
    arguments = re.sub(r"querydet::cuda::\w+<[^>]*>,? ?", "", arguments)
    parts = [part.strip() for part in arguments.split(",")]
    result["value"] = TYPES.get(parts[0], parts[0])
    numbers = [int(re.sub(r"\(\w+\)", "", part)) for part in parts if re.fullmatch(r"(\(\w+\))?\d+", part)]
    result.update(zip(("channels_per_thread", "threads_per_query"), numbers, strict=False))
    return result


def parse_report(report: str) -> dict[str, dict[str, int]]:
    """Parse registers, shared memory and spills of every kernel, by its name in the object."""
    kernels: dict[str, dict[str, int]] = {}
    name = ""
    for line in report.splitlines():
        if found := re.search(r"Compiling entry function '?([^' ]+)", line):
            name = found.group(1)
            kernels[name] = {"registers": 0, "shared_bytes": 0, "spilled_bytes": 0}
        elif found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            if name:
                kernels[name]["spilled_bytes"] = int(found.group(1)) + int(found.group(2))
        elif found := re.search(r"Used (\d+) registers", line):
            kernels[name]["registers"] = int(found.group(1))
            shared = re.search(r"(\d+) bytes smem", line)
            kernels[name]["shared_bytes"] = int(shared.group(1)) if shared else 0
            name = ""
    return kernels


def count_instructions(cuobjdump: str, cubin: Path) -> dict[str, dict[str, int]]:
    """Count the instructions of every kernel in the machine code."""
    text = subprocess.run([cuobjdump, "-sass", str(cubin)], capture_output=True, text=True, check=True).stdout
    counts = {}
    for part in text.split("Function : ")[1:]:
        name, _, body = part.partition("\n")
        instructions = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?\s*([A-Z][\w.]*)", body)
        counts[name.strip()] = {
            "instructions": len(instructions),
            "loads_of_16_bytes": sum(word.startswith("LDG.E.128") for word in instructions),
            "reductions": sum(word.startswith("RED") for word in instructions),
            "reductions_of_4": sum(word.startswith("RED") and "x4" in word for word in instructions),
        }
    return counts


def demangle(names: list[str]) -> dict[str, str]:
    """Return readable names by the mangled ones; c++filt comes with the compiler."""
    output = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    return dict(zip(names, output.splitlines(), strict=True))


def measure(architecture: str, source: Path, folder: Path) -> dict[str, Any]:
    """Compile one source file for one architecture, and return its row of the results."""
    nvcc, cuobjdump = find_tool("nvcc"), find_tool("cuobjdump")
    if nvcc is None:
        raise SystemExit("no nvcc: neither in CUDA_HOME, nor in /usr/local/cuda, nor on PATH")
    target = folder / f"{source.stem}.{architecture}.cubin"
    started, used = time.monotonic(), os.times()
    completed = subprocess.run(
        compile_command(nvcc, architecture, source, target), capture_output=True, text=True, check=False
    )
    if completed.returncode:
        raise SystemExit(f"{source.name} does not compile for sm_{architecture}:\n{completed.stderr}")
    after = os.times()
    cpu = after.children_user + after.children_system - used.children_user - used.children_system
    kernels = parse_report(completed.stderr)
    counts = count_instructions(cuobjdump, target) if cuobjdump else {}
    readable = demangle(list(kernels))
    rows = [
        {**describe(readable[name]), **numbers, **counts.get(name, {})}
        for name, numbers in kernels.items()
        if "querydet::cuda::" in readable[name]
    ]
    return {
        "architecture": f"sm_{architecture}",
        "source": source.name,
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(cpu, 1),
        "kernels": sorted(rows, key=lambda row: json.dumps(row)),
    }


def make_table(run: dict[str, Any]) -> str:
    """Return the kernels that move 16 bytes at once for D = 32 as a Markdown table, with a column per architecture."""
    names = [entry["architecture"] for entry in run["results"]]
    architectures = list(dict.fromkeys(names))
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for entry in run["results"]:
        for kernel in entry["kernels"]:
            width, group = kernel.get("channels_per_thread", 0), kernel.get("threads_per_query", 0)
            if width * group != 32 and not (kernel["kernel"] == "pixel" and width == 4):
                continue
            key = (kernel["kernel"], kernel.get("operator", "both"), kernel["value"])
            loads = f"{kernel.get('loads_of_16_bytes', '?')}"
            reductions = f"{kernel.get('reductions', '?')} ({kernel.get('reductions_of_4', '?')})"
            numbers = [kernel["registers"], kernel["spilled_bytes"], kernel["shared_bytes"], loads, reductions]
            cells.setdefault(key, {})[entry["architecture"]] = " / ".join(str(number) for number in numbers)
    lines = [
        "| kernel | operator | value | " + " | ".join(architectures) + " |",
        "| --- | --- | --- |" + " --- |" * len(architectures),
    ]
    for key in sorted(cells):
        lines.append("| " + " | ".join([*key, *(cells[key].get(name, "") for name in architectures)]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Compile the sources and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=["80", "90", "100"])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--table", action="store_true", help="only print the written results as a Markdown table")
    options = parser.parse_args()
    if options.table:
        print(make_table(json.loads(options.output.read_text())))
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for architecture in options.architectures:
            for source in sorted(SOURCES.glob("*.cu")):
                results.append(measure(architecture, source, Path(folder)))
                summary = {key: value for key, value in results[-1].items() if key != "kernels"}
                print(json.dumps({**summary, "kernels": len(results[-1]["kernels"])}), flush=True)
    nvcc = subprocess.run([str(find_tool("nvcc")), "--version"], capture_output=True, text=True, check=True).stdout
    release = re.search(r"V[\d.]+", nvcc)
    description = {**provenance(sys.argv), "nvcc": release.group() if release else nvcc}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({**description, "results": results}, indent=1) + "\n")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
