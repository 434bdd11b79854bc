"""Builds the extension querydet._C, if it can be built, and puts the configs into the wheel.

As in Detectron2, the extension has CUDA kernels when torch sees a GPU and a CUDA toolkit is at hand, or when
FORCE_CUDA=1 asks for them; else it is made for the CPU. It uses torch's stable ABI and Python's limited API: one binary
is meant for every torch from 2.11 and every Python from 3.10 on. Without a compiler, without torch, or with
QUERYDET_NO_EXTENSION=1 the package is installed all the same, and runs on the PyTorch definition of the operators.

Environment variables:
    QUERYDET_NO_EXTENSION=1: do not build the extension.
    QUERYDET_REQUIRE_EXTENSION=1: an extension that cannot be built is an error.
    FORCE_CUDA=1: build CUDA kernels also where torch sees no GPU (needs CUDA_HOME and, without a GPU,
        TORCH_CUDA_ARCH_LIST, for instance "8.0;9.0").
    QUERYDET_BASELINE_ONLY=1: leave out the CPU kernels for AVX2 and AVX-512, which are chosen at run time.
    MAX_JOBS: number of files to compile at the same time.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import BaseError, CCompilerError

ROOT = Path(__file__).resolve().parent
SOURCES = Path("ops") / "csrc"
# `querydet analyze` prints these counts beside its own.
PUBLISHED = Path("benchmarks") / "published" / "model_facts.json"
# `querydet zoo` prints the published AP of these.
TABLES = "projects/*/tables.yaml"
# The oldest torch whose stable ABI the sources use: 2.11, as torch writes it in TORCH_VERSION_2_11_0.
TORCH_TARGET_VERSION = "0x020b000000000000"
# -fopenmp is not needed: threads come from torch. No code reads errno or floating point exceptions.
CXX_FLAGS = ["-O3", "-g0", "-std=c++17", "-Wall", "-fno-math-errno", "-fno-trapping-math"]
CUDA_SOURCES = ("ms_deform_attn_cuda.cu", "ms_deform_attn_fused_cuda.cu", "sort_cuda.cu", "suppression_cuda.cu")
NVCC_FLAGS = ["-O3", "-std=c++17", "-Xcompiler", "-Wall"]


def is_set(name: str) -> bool:
    """Return whether an environment variable is set, and neither empty nor 0."""
    return os.environ.get(name, "0") not in ("", "0")


def say(message: str) -> None:
    """Print a line with the name of the package, to be found in the output of pip or make."""
    print(f"querydet: {message}", file=sys.stderr)


def find_reason_against_extension() -> str:
    """Return the reason why the extension is not built here; an empty string if it is."""
    if is_set("QUERYDET_NO_EXTENSION"):
        return "QUERYDET_NO_EXTENSION is set"
    try:
        import torch.utils.cpp_extension  # noqa: F401
    except ImportError as error:
        return f"torch cannot be imported while building ({error}); install torch, then use --no-build-isolation"
    compiler = os.environ.get("CXX", "c++").split()
    if not compiler or shutil.which(compiler[0]) is None:
        return f"no C++ compiler: {' '.join(compiler) or 'CXX'} is not on PATH"
    return ""


def with_cuda() -> bool:
    """Return whether to compile CUDA kernels, decided as in Detectron2."""
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    if is_set("FORCE_CUDA"):
        return True
    return torch.cuda.is_available() and CUDA_HOME is not None


def library_paths() -> list[str]:
    """Return linker flags by which the extension finds torch's libraries when torch was not imported before it."""
    from torch.utils.cpp_extension import library_paths as folders_of_torch

    if sys.platform != "linux":
        return []
    # beside an installed package first, so that a wheel works in another environment than it was built in
    return [f"-Wl,-rpath,{folder}" for folder in ("$ORIGIN/../torch/lib", *folders_of_torch())]


def make_extension() -> Extension:
    """Describe the extension querydet._C for this machine."""
    from torch.utils.cpp_extension import CppExtension, CUDAExtension

    cpu = sorted(path.relative_to(ROOT) for path in (ROOT / SOURCES / "cpu").glob("*.cpp"))
    sources = [SOURCES / "schema.cpp", *cpu]
    flags = {"cxx": list(CXX_FLAGS), "nvcc": list(NVCC_FLAGS)}
    macros: list[tuple[str, str | None]] = [("TORCH_TARGET_VERSION", TORCH_TARGET_VERSION)]
    if is_set("QUERYDET_BASELINE_ONLY"):
        macros.append(("QUERYDET_BASELINE_ONLY", None))
    extension: Any = CppExtension
    if with_cuda():
        extension = CUDAExtension
        # must not have the stem of a .cpp file: their objects would overwrite each other
        sources += [SOURCES / "cuda" / name for name in CUDA_SOURCES]
        macros.append(("USE_CUDA", None))  # declares torch's CUDA functions in the stable ABI
    return extension(
        "querydet._C",
        sources=[source.as_posix() for source in sources],
        define_macros=macros,
        extra_compile_args=flags,
        extra_link_args=library_paths(),
        py_limited_api=True,
    )


def make_build_command() -> type[build_ext]:
    """Make a build command from torch's that skips an extension that is up to date, and survives a failed build."""
    from torch.utils.cpp_extension import BuildExtension

    class BuildOperators(BuildExtension):
        """Builds querydet._C unless nothing has changed since the last build."""

        def run(self) -> None:
            """Build the extension; without one, go on, unless QUERYDET_REQUIRE_EXTENSION is set."""
            if self.is_up_to_date():
                say("the extension is up to date")
                return
            try:
                super().run()
            # errors of setuptools, ninja (through torch) and missing tools when a file does not compile
            except (BaseError, CCompilerError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
                if is_set("QUERYDET_REQUIRE_EXTENSION"):
                    raise
                say(f"the extension could not be built, the PyTorch definition will be used. Reason: {error}")
                # otherwise setuptools would expect the file when it copies results
                self.extensions: list[Extension] = []
                return
            self.stamp_file().parent.mkdir(parents=True, exist_ok=True)
            self.stamp_file().write_text(self.describe())

        def target(self) -> Path:
            """Return the path of the built extension."""
            return Path(self.get_ext_fullpath("querydet._C")).resolve()

        def stamp_file(self) -> Path:
            """Return the path of the file that describes the last build."""
            return Path(self.build_temp).resolve() / f"querydet._C.{'inplace' if self.inplace else 'lib'}.json"

        def describe(self) -> str:
            """Return everything besides the content of the sources that the build depends on, as text."""
            import torch

            extension = self.extensions[0]
            names = ("CXX", "CC", "CFLAGS", "CXXFLAGS", "LDFLAGS", "CUDA_HOME", "TORCH_CUDA_ARCH_LIST")
            description = {
                "target": str(self.target()),
                "torch": torch.__version__,
                "sources": extension.sources,
                "macros": extension.define_macros,
                "flags": [CXX_FLAGS, NVCC_FLAGS, extension.extra_link_args],
                "environment": {name: os.environ.get(name) for name in names},
            }
            return json.dumps(description, indent=1, sort_keys=True)

        def is_up_to_date(self) -> bool:
            """Return whether sources and settings are those of the last build."""
            target, stamp = self.target(), self.stamp_file()
            if self.force_was_asked() or not target.is_file() or not stamp.is_file():
                return False
            sources = [path for path in (ROOT / SOURCES).rglob("*") if path.is_file()]
            newest = max(path.stat().st_mtime for path in [*sources, Path(__file__)])
            return target.stat().st_mtime >= newest and stamp.read_text() == self.describe()

        def force_was_asked(self) -> bool:
            """Return whether the command line asks for a build in any case."""
            # torch sets `force` for itself whenever ninja is used: ninja decides then.
            return "--force" in sys.argv or "-f" in sys.argv

    return BuildOperators


class BuildWithConfigs(build_py):
    """Also copies configs/, projects/*/configs, `PUBLISHED` and `TABLES` to querydet/_configs of what is built."""

    def run(self) -> None:
        """Build the package, and copy the configs unless the installation is editable."""
        if not self.editable_mode:
            # files that were renamed or removed since an earlier build must not enter the wheel; the extension is kept
            for path in (Path(self.build_lib) / "querydet").rglob("*"):
                if path.is_file() and path.suffix != ".so":
                    path.unlink()
        super().run()
        if self.editable_mode:  # the source tree itself is used
            return
        for source, target in self.configs():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def configs(self) -> list[tuple[Path, Path]]:
        """Return every file to copy, and its destination."""
        base = Path(self.build_lib) / "querydet" / "_configs"
        folders = [ROOT / "configs", *sorted((ROOT / "projects").glob("*/configs"))]
        files = [ROOT / PUBLISHED, *ROOT.glob(TABLES), *(path for each in folders for path in sorted(each.rglob("*")))]
        return [
            (path, base / path.relative_to(ROOT))
            for path in files
            if path.is_file() and path.suffix in (".py", ".yaml", ".json")
        ]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return all installed files, with the copied ones."""
        outputs = list(super().get_outputs(include_bytecode))
        return outputs if self.editable_mode else outputs + [str(target) for _, target in self.configs()]


def main() -> None:
    """Run setuptools with or without the extension."""
    os.chdir(ROOT)
    commands: dict[str, type] = {"build_py": BuildWithConfigs}
    extensions: list[Extension] = []
    reason = find_reason_against_extension()
    if not reason:
        try:
            extensions = [make_extension()]
        except OSError as error:  # CUDA kernels were requested, but torch finds no toolkit
            reason = str(error)
        else:
            commands["build_ext"] = make_build_command()
    if reason and is_set("QUERYDET_REQUIRE_EXTENSION"):
        raise SystemExit(f"querydet: QUERYDET_REQUIRE_EXTENSION is set, but the extension cannot be built: {reason}")
    if reason:
        say(f"no extension is built, the PyTorch definition will be used. Reason: {reason}")
    # One wheel for every Python: the extension uses the limited API of 3.10.
    options = {"bdist_wheel": {"py_limited_api": "cp310"}} if extensions else {}
    setup(license="Apache-2.0", ext_modules=extensions, cmdclass=commands, options=options)


if __name__ == "__main__":
    main()
