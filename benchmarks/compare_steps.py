"""Compares two versions of the code: one training step and one detection of every shipped composition.

    PYTHONPATH=/path/of/one/checkout python benchmarks/compare_steps.py record before.pt
    PYTHONPATH=/path/of/another python benchmarks/compare_steps.py record after.pt
    python benchmarks/compare_steps.py compare before.pt after.pt

Every composition of `configs/common/models` is made small by `tests/models.py` of the checkout, with dropout, and
built from a fixed seed. Initial weights with their names and order, losses, gradients and detections are recorded, and
have to be equal bit for bit. Exit status 1 says that something differs.
"""

import argparse
import sys
from typing import Any

import torch
from torch import Tensor

SIZES, COUNTS = [(96, 128), (80, 64), (72, 100)], [3, 0, 5]


def record(name: str) -> dict[str, dict[str, Tensor]]:
    """Record initial weights, losses, gradients and detections of a composition."""
    from detectron2.config import instantiate

    from tests.models import make_inputs, tiny_config  # of the checkout that PYTHONPATH names

    config = tiny_config(name)
    for part in (config.encoder, config.decoder):
        part.layer.dropout = 0.1
    torch.manual_seed(0)
    detector = instantiate(config)
    state = {key: value.clone() for key, value in detector.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # away from special initial values, where much is zero
        for parameter in detector.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    inputs = make_inputs(SIZES, COUNTS)
    torch.manual_seed(2)
    losses = detector.train()(inputs)
    torch.stack(list(losses.values())).sum().backward()
    with torch.no_grad():
        detections = [output["instances"] for output in detector.eval()(inputs)]
    return {
        "weights": state,
        "losses": {key: value.detach() for key, value in losses.items()},
        "gradients": {key: value.grad for key, value in detector.named_parameters() if value.grad is not None},
        "boxes": {str(image): instances.pred_boxes.tensor for image, instances in enumerate(detections)},
        "scores": {str(image): instances.scores for image, instances in enumerate(detections)},
    }


def record_all(path: str, names: list[str]) -> None:
    """Record compositions into a file."""
    from querydet.config import config_root

    names = names or sorted(file.stem for file in (config_root() / "configs/common/models").glob("*.py"))
    found: dict[str, Any] = {}
    for name in names:
        try:
            found[name] = record(name)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}")
            continue
        print(f"{name}: {len(found[name]['losses'])} losses, {len(found[name]['gradients'])} gradients")
    torch.save(found, path)


def differences(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    """Describe in words how two recordings differ; the order of the names counts."""
    found = [f"{key} only before" for key in before if key not in after]
    found += [f"{key} only after" for key in after if key not in before]
    if not found and list(before) != list(after):
        found.append("the order of the names")
    for key in (key for key in before if key in after):
        one, other = before[key], after[key]
        if one.shape != other.shape:
            found.append(f"{key}: {tuple(one.shape)} and {tuple(other.shape)}")
        elif not torch.equal(one, other):
            found.append(f"{key} by up to {(one.double() - other.double()).abs().max().item():.2g}")
    return found


def compare(before_path: str, after_path: str) -> int:
    """Print how two recordings differ, and return the exit status."""
    before, after = torch.load(before_path), torch.load(after_path)
    different = set(before) ^ set(after)
    for name in sorted(different):
        print(f"{name}: only in {before_path if name in before else after_path}")
    for name in (name for name in before if name in after):
        for kind in before[name]:
            found = differences(before[name][kind], after[name][kind])
            if found:
                different.add(name)
                print(f"{name}, {kind}: {len(found)} differ: {'; '.join(found[:3])}")
    same = len(set(before) & set(after)) - len(different & set(before) & set(after))
    print(f"{same} of {len(set(before) | set(after))} compositions are the same, bit for bit")
    return 1 if different else 0


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="record the code that PYTHONPATH names")
    recording.add_argument("path")
    recording.add_argument("names", nargs="*", help="compositions; all by default")
    comparing = commands.add_parser("compare", help="compare two recordings")
    comparing.add_argument("before")
    comparing.add_argument("after")
    options = parser.parse_args()
    if options.command == "compare":
        return compare(options.before, options.after)
    record_all(options.path, options.names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
