"""Times the export of DINO R50 and its graph in other runtimes, with random weights, on the CPU.

    python -m benchmarks.export                                   # all that is installed
    python -m benchmarks.export --size 480x480 --repeats 9 --threads 1

Written: seconds of each step of the export, and processor seconds where others use the machine too; milliseconds of the
detector, of ONNX Runtime, and of OpenVINO in float32, bfloat16 and 8 bits, taking turns; and the share of each kind of
operator of the time of the two float32 runtimes. Ranges of 8 bits come from noise, which changes no time.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks import contest
from benchmarks.inference import MODELS, make_model
from querydet.export.graph import pad_images
from querydet.export.onnx import export_onnx
from querydet.export.openvino import HINTS, OpenVinoModel, export_openvino

RESULTS = Path(__file__).parent / "results" / "export.json"
Inputs = tuple[torch.Tensor, torch.Tensor]


@contextmanager
def timed(name: str, seconds: dict[str, Any]) -> Iterator[None]:
    """Add the seconds of a step."""
    start, used = time.perf_counter(), time.process_time()
    yield
    seconds[name] = {
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time() - used, 1),
    }
    print(name, seconds[name], flush=True)


def write_files(model: torch.nn.Module, folder: Path, size: tuple[int, int], inputs: Inputs) -> dict[str, Any]:
    """Export to all formats; return the seconds of each."""
    seconds: dict[str, Any] = {}
    with timed("onnx", seconds):
        export_onnx(model, str(folder / "model.onnx"), size)
    for precision in HINTS:
        if find_spec("openvino") and (precision != "int8" or find_spec("nncf")):
            with timed(f"openvino {precision}", seconds):
                export_openvino(str(folder / "model.onnx"), str(folder / f"{precision}.xml"), precision, [inputs])
    return seconds


def contestants(model: torch.nn.Module, folder: Path, inputs: Inputs, threads: int) -> dict[str, Callable[[], Any]]:
    """Return what runs the detector and each file."""
    from querydet.export.onnx import OnnxModel

    image = [{"image": inputs[0][0]}]
    graph = OnnxModel(str(folder / "model.onnx"), threads)
    runs: dict[str, Callable[[], Any]] = {"querydet": lambda: model(image), "ONNX Runtime": lambda: graph(*inputs)}
    for precision in HINTS:
        if (path := folder / f"{precision}.xml").exists():
            compiled = OpenVinoModel(str(path), threads, static=True)
            runs[f"OpenVINO {precision}"] = lambda compiled=compiled: compiled(*inputs)
    return runs


def kinds_in_onnxruntime(path: Path, inputs: Inputs, threads: int) -> dict[str, float]:
    """Return the share of the time of each kind of operator, the largest first."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = threads, True
    options.profile_file_prefix = str(path.parent / "profile")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for _ in range(3):
        session.run(None, {"images": inputs[0].numpy(), "sizes": inputs[1].numpy()})
    events = json.loads(Path(session.end_profiling()).read_text())
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    return shares(spent)


def kinds_in_openvino(path: Path, inputs: Inputs, threads: int) -> dict[str, float]:
    """Return the share of the time of each kind of operator, the largest first."""
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path))
    model.reshape({"images": list(inputs[0].shape), "sizes": list(inputs[1].shape)})
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True, "INFERENCE_NUM_THREADS": threads}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    spent: Counter[str] = Counter()
    for _ in range(3):
        request.infer({"images": inputs[0].numpy(), "sizes": inputs[1].numpy()})
        for node in request.profiling_info:
            spent[node.node_type] += node.real_time.total_seconds()
    return shares(spent)


def shares(spent: Counter[str]) -> dict[str, float]:
    """Return parts of the total from one part in a thousand on."""
    total = sum(spent.values())
    return {kind: round(value / total, 3) for kind, value in spent.most_common() if value >= 1e-3 * total}


@torch.inference_mode()
def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return all that is measured."""
    height, width = map(int, options.size.split("x"))
    model = make_model(MODELS["DINO"], "cpu")
    inputs = pad_images([torch.randint(0, 256, (3, height, width)).float()])
    found: dict[str, Any] = {"size": options.size, "batch": 1, "threads": options.threads}
    found["export"] = write_files(model, folder, (height, width), inputs)
    found["share_of_time"] = {"ONNX Runtime": kinds_in_onnxruntime(folder / "model.onnx", inputs, options.threads)}
    if (folder / "float32.xml").exists():
        found["share_of_time"]["OpenVINO f32"] = kinds_in_openvino(folder / "float32.xml", inputs, options.threads)
    seconds = contest.take_turns(contestants(model, folder, inputs, options.threads), options.repeats)
    found["milliseconds"] = {name: round(1e3 * value, 1) for name, value in seconds.items()}
    return found


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="640x640", help="HEIGHTxWIDTH")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    record = {**contest.origin_of_module(), **found}
    options.output.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(found["milliseconds"]))


if __name__ == "__main__":
    main()
