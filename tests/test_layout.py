"""The tests mirror the sources, and the budgets of CONTRIBUTING.md hold; both are read from the syntax trees."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "querydet"
MIRRORED = {"tests/tools": "tools"}  # other folders of tests mirror the package
TOGETHER = {"querydet/cli/arguments": "tests/cli"}  # the options of a command are tested with the command

UNTESTED: dict[str, str] = {}  # sources without a test file of their name, with the reason
TOPICS = {  # test files without a source of their name: properties of several parts together
    "tests/checkpoint/test_backbone_weights.py": "published files of the network inside a pyramid",
    "tests/checkpoint/test_hostile_files.py": "files that want to hang, to exhaust the memory or to mislead",
    "tests/checkpoint/conversion/test_huggingface.py": "converted models compute what those of transformers do",
    "tests/config/test_config_tree.py": "every shipped config",
    "tests/config/test_shipped_backbones.py": "the shipped configs of backbones",
    "tests/data/test_configs.py": "the shipped configs of data",
    "tests/data/test_real_data.py": "real images, from QUERYDET_TEST_DATA",
    "tests/demo/test_browser.py": "the demo's page in a browser",
    "tests/docs/*": "the examples of docs/",
    "tests/engine/test_custom_data.py": "runs on data of one's own",
    "tests/engine/test_dino_runs.py": "runs of the real DINO on toy data",
    "tests/engine/test_faults.py": "faults injected into whole runs",
    "tests/engine/test_fine_tuning.py": "runs that start from a detector of other classes",
    "tests/engine/test_images_alone.py": "test data without annotations",
    "tests/engine/test_gradients.py": "processes and micro-batches compute the gradients of one",
    "tests/engine/test_killed_workers.py": "runs whose data workers are killed",
    "tests/engine/test_lvis_runs.py": "a run on data of LVIS's format",
    "tests/engine/test_old_runs.py": "runs that version 0.1 started",
    "tests/engine/test_objects365_runs.py": "recipes of Objects365 and those that start from their output",
    "tests/engine/test_reliability.py": "docs/reliability.md names tests that exist",
    "tests/engine/test_train_net.py": "the program train_net.py",
    "tests/evaluation/test_coco_masks.py": "metrics of masks beside those of boxes",
    "tests/evaluation/test_two_processes.py": "evaluators in two processes see the batches of one",
    "tests/export/test_padded_backbones.py": "exported detectors on backbones that take some sizes only",
    "tests/modeling/backbones/test_any_backbone.py": "detectors on every kind of backbone",
    "tests/modeling/masks/test_compositions.py": "masks on every kind of detector",
    "tests/modeling/test_combinations.py": "combinations of methods",
    "tests/modeling/test_dense.py": "detectors with standard attention",
    "tests/modeling/test_dense_products.py": "products of parts with standard attention",
    "tests/modeling/test_inputs.py": "what a detector is given",
    "tests/modeling/test_precision.py": "16 bit and 64 bit in whole detectors",
    "tests/modeling/test_initialisation.py": "initial weights of whole detectors",
    "tests/modeling/test_own_parts.py": "parts of a user's own in every slot",
    "tests/modeling/test_padding.py": "padding changes no detection",
    "tests/modeling/test_part_products.py": "products of parts that nobody published",
    "tests/modeling/test_synchronisation.py": "waits for the device",
    "tests/ops/test_fuzz.py": "random calls of every operator",
    "tests/parity/*": "detectors against recorded numbers of the published implementations",
    "tests/tools/test_entry_points.py": "files of tools/ that start a command",
    "tests/tools/test_install.py": "tools/install.sh",
    "tests/tools/test_results.py": "tables and records of published numbers: several files of tools/",
    "tests/test_annotations.py": "benchmarks/annotations.py measures large annotation files",
    "tests/test_convergence.py": "benchmarks/convergence.py trains every method alike",
    "tests/test_group_attention.py": "benchmarks/group_attention.py measures what it says",
    "tests/test_kept_configs.py": "what tests keep of shipped configs",
    "tests/test_denoising.py": "the benchmark of denoising queries",
    "tests/test_imports.py": "import circles",
    "tests/test_inference_benchmark.py": "what benchmarks/inference.py and benchmarks/growth.py publish",
    "tests/test_installation.py": "the wheel",
    "tests/test_layout.py": "this file",
    "tests/test_public_api.py": "what the package exports",
    "tests/test_published_backbone_settings.py": "recipes by backbone against the settings of released code",
    "tests/test_published_mask_settings.py": "recipes with masks against the settings of the papers and released code",
    "tests/test_published_numbers.py": "the rows of the papers' tables against the recipes and the documents",
    "tests/test_published_settings.py": "recipes against the settings of the papers and the released code",
    "tests/test_readme.py": "README.md against the code and the data files",
    "tests/test_startup.py": "what is loaded before the first result",
    "tests/test_turns.py": "benchmarks/turns.py times one process at a time",
    "tests/test_waits.py": "every wait of the package has a deadline",
}

MAX_LINES = 299
MAX_FUNCTION_LINES = 59
MAX_ARGUMENTS = 9
SLOTS = {"querydet/modeling/detector.py": "QueryDetector"}  # its arguments are the parts of a detector

Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(folder: str) -> list[str]:
    """Paths from the root, in order."""
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def parse(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), path)


def functions_of(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def computes(tree: ast.AST) -> bool:
    """Whether any function has a body: constants, data without methods, and Protocols have none."""

    def is_text(node: ast.stmt) -> bool:
        return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))

    return any(not all(map(is_text, function.body)) for function in functions_of(tree))


def name_of_test(source: str) -> str:
    """The test file of a source's name."""
    path = Path(source)
    if path.parent.as_posix() in TOGETHER:
        return f"{TOGETHER[path.parent.as_posix()]}/test_{path.name}"
    return (Path("tests") / Path(*path.parts[1:-1]) / f"test_{path.name}").as_posix()


def mirrors_a_source(test: str) -> bool:
    """Whether a source has the name of a test file, or its beginning: ``test_suppression_gpu.py`` is of suppression."""
    path = Path(test)
    name, folder = path.stem.removeprefix("test_"), path.parent.as_posix()
    sources = ROOT / MIRRORED.get(folder, Path(PACKAGE, *path.parts[1:-1]).as_posix())
    return any(name == source.stem or name.startswith(f"{source.stem}_") for source in sources.glob("*.py"))


def constructors(tree: ast.AST) -> Iterator[tuple[str, Function]]:
    """The classes with a constructor of their own, and it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from (
                (node.name, each) for each in node.body if isinstance(each, Function) and each.name == "__init__"
            )


def public_arguments(function: Function) -> list[str]:
    """Names of the arguments of a method that a caller is to give."""
    arguments = function.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return [name for name in names[1:] if not name.startswith("_")]


SOURCES = [path for path in python_files(PACKAGE) if Path(path).stem not in ("__init__", "__main__")]
TESTS = [path for path in python_files("tests") if Path(path).name.startswith("test_")]


def test_every_source_that_computes_has_a_test_file_of_its_name() -> None:
    missing = [path for path in SOURCES if computes(parse(path)) and not (ROOT / name_of_test(path)).is_file()]
    assert missing == sorted(UNTESTED)


def test_every_test_file_mirrors_a_source_or_is_a_topic() -> None:
    stray = [
        path for path in TESTS if not mirrors_a_source(path) and not any(Path(path).match(topic) for topic in TOPICS)
    ]
    assert stray == []


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_is_there_and_mirrors_nothing(topic: str) -> None:
    found = [path for path in TESTS if Path(path).match(topic)]
    assert found
    assert not [path for path in found if mirrors_a_source(path)]


def test_every_folder_of_tests_is_a_package() -> None:
    """Helpers are imported by ``tests.folder.name``."""
    assert {Path(path).parent.as_posix() for path in TESTS} == {
        Path(path).parent.as_posix() for path in python_files("tests") if Path(path).name == "__init__.py"
    } - {"tests/reference", "tests/reference/detectors"}


def test_files_are_short() -> None:
    lines = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in python_files(PACKAGE)}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


def test_functions_are_short() -> None:
    long = {
        f"{path}:{function.lineno} {function.name}": lines
        for path in python_files(PACKAGE)
        for function in functions_of(parse(path))
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert long == {}


def test_constructors_have_few_arguments() -> None:
    many = {
        f"{path} {name}": len(public_arguments(function))
        for path in python_files(PACKAGE)
        for name, function in constructors(parse(path))
        if len(public_arguments(function)) > MAX_ARGUMENTS and SLOTS.get(path) != name
    }
    assert many == {}


def test_no_part_of_a_model_hides_arguments() -> None:
    hidden = [
        f"{path} {name}(**{function.args.kwarg.arg})"
        for path in python_files(f"{PACKAGE}/modeling")
        for name, function in constructors(parse(path))
        if function.args.kwarg is not None
    ]
    assert hidden == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A = 1\nB = A + 1", False),
        ("class Data:\n    a: int", False),
        ("class Part(Protocol):\n    def f(self) -> int:\n        '''Return it.'''\n        ...", False),
        ("def f():\n    return 1", True),
        ("class Data:\n    a: int\n    def twice(self):\n        '''Return it.'''\n        return 2 * self.a", True),
    ],
)
def test_what_computes(text: str, expected: bool) -> None:
    assert computes(ast.parse(text)) == expected


def test_names_of_test_files() -> None:
    assert name_of_test("querydet/ops/fused.py") == "tests/ops/test_fused.py"
    assert name_of_test("querydet/structures.py") == "tests/test_structures.py"
    assert mirrors_a_source("tests/ops/test_suppression_gpu.py")
    assert mirrors_a_source("tests/tools/test_export_model.py")
    assert not mirrors_a_source("tests/ops/test_suppressions.py")


def test_what_counts_as_an_argument() -> None:
    tree = ast.parse("class Part:\n    def __init__(self, a, /, b, *rest, c=1, _d=2, **others): ...")
    ((name, function),) = constructors(tree)
    assert (name, public_arguments(function)) == ("Part", ["a", "b", "c"])
