"""Every row of the papers' tables has a recipe or a reason why not; documents print no other numbers."""

import ast
import fnmatch
import json
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from querydet import model_zoo
from querydet.config import load_config
from querydet.model_zoo.published import all_rows, precisions, project_of, publications, recipes, rows_of

ROOT = Path(__file__).resolve().parents[1]
ROWS = {  # of the tables that have to be there: paper, number, rows
    "DINO": {"table 1": 10, "table 2": 12, "table 3": 7, "table 4": 6, "table 5": 4, "table 6": 8, "table 7": 7},
    "Group DETR": {
        **{"table 1": 3, "table 2": 12, "table 3": 16, "table 4": 18, "table 5": 4, "table 6": 4, "table 7": 4},
        **{"section 4.1": 1, "figure 8": 4, "figure 9": 7},
    },
    "MS-DETR": {"table 1": 16, "table 2": 12, "table 4": 4, "table 5": 5, "table 6": 4, "table 7": 4, "figure 5": 3},
    "DETA": {"table 1": 11, "table 3": 29, "table 4": 12, "table 5": 18, "table 6": 9, "table 7": 6, "table 8": 6},
}
SIZES = (
    *("neck.num_levels", "encoder.num_layers", "decoder.num_layers", "selection.num_queries", "encoder.layer.ffn_dim"),
    *("decoder.layer.ffn_dim", "decoder.layer.dropout", "decoder.look_forward_twice", "postprocess.num_detections"),
)
DIFFERENT = {("Group DETR, table 7", "(a) one to one")}  # the paper's tables differ in what they print of this row
NUMBER = re.compile(r"(?<![\d.])\d\d\.\d(?![\d.]*\d)")  # how an AP is printed


@pytest.mark.parametrize("paper", ROWS)
def test_no_row_of_a_paper_is_missing(paper: str) -> None:
    found: dict[str, int] = {}
    for table, _ in all_rows():
        if table.source == paper:
            found[table.name] = found.get(table.name, 0) + 1
    assert found == ROWS[paper]


def test_rows_name_recipes_that_exist() -> None:
    named = {row.recipe for _, row in all_rows()} | {name for one in publications() for name in one.others}
    assert named - {None} - set(recipes()) == set()


def test_every_recipe_is_needed_by_a_row_or_a_stated_reason() -> None:
    others = {name: one.project for one in publications() for name in one.others}
    assert [name for name in recipes() if not rows_of(name) and name not in others] == []
    assert [name for name in others if rows_of(name)] == [], "a row needs them"
    assert [
        name for name in others if Path(recipes().get(name, f"projects/{others[name]}")).parts[1] != others[name]
    ] == []


def test_a_recipe_trains_as_many_epochs_as_its_rows() -> None:
    wrong = [
        (table.title, row.label, row.recipe)
        for table, row in all_rows()
        if row.recipe and row.epochs is not None and not row.recipe.endswith(f"_{row.epochs}ep")
    ]
    assert wrong == []


@pytest.mark.parametrize("title", ["MS-DETR, table 1", "MS-DETR, table 2", "MS-DETR, table 4", "MS-DETR, table 7"])
def test_rows_with_and_without_ms_detr_are_models_of_one_size(title: str) -> None:
    found = {(row.label, row.epochs): row.recipe for table, row in all_rows() if table.title == title}
    pairs = [(found[label.removesuffix(", MS-DETR"), epochs], name) for (label, epochs), name in found.items()]
    pairs = [pair for pair in pairs if pair[0] != pair[1]]
    assert len(pairs) == {"table 1": 5, "table 2": 6, "table 4": 2, "table 7": 2}[title.partition(", ")[2]]
    for names in pairs:
        base, combined = (load_config(recipes()[name or ""]).model for name in names)
        for key in SIZES:
            assert OmegaConf.select(base, key) == OmegaConf.select(combined, key), (*names, key)


def test_rows_of_a_table_with_different_numbers_have_different_recipes() -> None:
    found: dict[tuple[str, str, str], set[float]] = {}
    for table, row in all_rows():
        if row.recipe and table.name and "AP" in row.values:
            found.setdefault((table.title, table.part, row.recipe), set()).add(row.values["AP"])
    assert {key: numbers for key, numbers in found.items() if len(numbers) > 1} == {}


def test_every_row_of_the_tables_of_masks_has_a_recipe_and_its_printed_number() -> None:
    found = {
        (table.title, row.label, row.epochs): (row.values["mask AP"], row.values.get("AP"))
        for table, row in all_rows()
        if row.recipe and row.recipe in recipes() and "mask AP" in row.values
    }
    mask2former, deformable = "Group DETR, table 6", "MS-DETR, table 7"
    assert {key: numbers for key, numbers in found.items() if key[0] in (mask2former, deformable)} == {
        (mask2former, "Mask2Former", 12): (38.5, None),
        (mask2former, "Mask2Former, groups", 12): (39.7, None),
        (mask2former, "Mask2Former", 50): (43.7, None),
        (mask2former, "Mask2Former, groups", 50): (44.0, None),
        (deformable, "Mask-Deformable-DETR", 12): (28.3, 43.8),
        (deformable, "Mask-Deformable-DETR, MS-DETR", 12): (31.5, 47.1),
        (deformable, "Mask-Deformable-DETR", 50): (32.2, 45.6),
        (deformable, "Mask-Deformable-DETR, MS-DETR", 50): (34.7, 48.3),
    }


def test_sources_that_print_the_masks_of_one_model_agree() -> None:
    printed = [row.values for _, row in all_rows() if row.recipe == "mask2former_r50_50ep"]
    assert len(printed) == 2
    shared = set(printed[0]) & set(printed[1])
    assert shared == {"mask AP", "mask APS", "mask APM", "mask APL"}
    assert {column: printed[0][column] for column in shared} == {column: printed[1][column] for column in shared}


def test_recipes_train_on_masks_where_the_model_has_some() -> None:
    """And choose their best checkpoint by masks; the backbone gives the maps that the masks read."""
    with_masks = {name for name in recipes() if "mask" in name}
    assert {row.recipe for _, row in all_rows() if "mask AP" in row.values and row.recipe} <= with_masks
    for name in sorted(with_masks):
        cfg = load_config(recipes()[name])
        assert cfg.model.masks is not None, name
        assert cfg.dataloader.train.dataset.masks is cfg.dataloader.test.dataset.masks is True, name
        assert cfg.train.checkpointer.best_metric == "segm/AP", name
        assert set(cfg.model.masks.head.in_channels) <= set(cfg.model.backbone.out_features), name


def test_papers_that_repeat_a_row_of_another_have_its_numbers() -> None:
    """With the same AP of a recipe, the other numbers agree too."""
    columns = ("AP50", "AP75", "APS", "APM", "APL")
    found: dict[tuple[str, float], dict[str, float]] = {}
    for table, row in all_rows():
        if row.recipe and table.name and "AP" in row.values:
            before = found.setdefault((row.recipe, row.values["AP"]), {})
            new = {column: row.values[column] for column in columns if column in row.values}
            same = {column: before.get(column, number) for column, number in new.items()}
            known = (table.title, row.label) in DIFFERENT
            assert known or same == new, (table.title, row.label)
            before.update(new)


def test_weights_are_of_the_recipe_of_their_row() -> None:
    found = {row.weights: row for _, row in all_rows() if row.weights}
    assert set(found) == set(model_zoo.names())
    for name, row in found.items():
        assert row.recipe == model_zoo.get_entry(name).recipe
        assert 30 < row.values.get("AP", row.values.get("mask AP", 0)) < 70


def test_costs_of_models_are_those_of_the_tables() -> None:
    """`querydet analyze` prints the costs that are published; where a table has them, they are the same."""
    compared = 0
    for entry in json.loads((ROOT / "benchmarks" / "published" / "model_facts.json").read_text())["models"]:
        paper = entry.get("paper", {})
        for name, path in recipes().items():
            if not any(fnmatch.fnmatch(path, pattern) for pattern in entry["configs"]):
                continue
            for table, row in rows_of(name):
                arxiv = next((one.arxiv for one in publications() if one.paper == table.source), None)
                if paper.get("source") == f"arXiv {arxiv}, {table.name}":
                    for key, column in (("gflops", "GFLOPs"), ("parameters_millions", "params")):
                        if column in row.values:
                            compared += 1
                            assert paper[key] == row.values[column], (name, column)
    assert compared


def numbers_of(project: str) -> set[str]:
    """The numbers of a project's own tables and of its recipes, as they are printed."""
    own = {table.title for one in publications() if one.project == project for table in one.tables}
    rows = (row for table, row in all_rows() if table.title in own or project_of(row.recipe or "") == project)
    return {f"{value:.1f}" for row in rows for value in row.values.values()}


@pytest.mark.parametrize("page", sorted((ROOT / "projects").glob("*/README.md")), ids=lambda path: path.parent.name)
def test_numbers_of_a_document_are_those_of_the_data(page: Path) -> None:
    """Outside of the tables, which are made from the data."""
    text = re.sub(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", "", page.read_text(), flags=re.DOTALL)
    assert set(NUMBER.findall(text)) - numbers_of(page.parent.name) == set()


@pytest.mark.parametrize("project", [one.project for one in publications()])
def test_documents_have_the_sections_of_their_project(project: str) -> None:
    page = ROOT / "projects" / project / "README.md"
    text = page.read_text()
    assert f"<!-- recipes_{project} -->" in text
    absent = any(row.reason for one in publications() if one.project == project for t in one.tables for row in t.rows)
    assert not absent or f"<!-- absent_{project} -->" in text


def test_docstrings_of_recipes_name_tables_and_no_numbers() -> None:
    texts = {name: ast.get_docstring(ast.parse((ROOT / path).read_text())) or "" for name, path in recipes().items()}
    assert {
        name: text for name, text in texts.items() if re.search(NUMBER.pattern + r"|\d AP\b", text) or not text
    } == {}


def test_the_numbers_of_two_papers_that_disagree_are_both_there() -> None:
    assert list(precisions("dab_deformable_detr_r50_50ep")) == ["46.9", "48.1"]
    assert list(precisions("dino_r50_4scale_12ep"))[:3] == ["49.0", "47.9", "49.4"]
