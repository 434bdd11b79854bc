"""Markdown of published numbers."""

from querydet.cli.published_tables import (
    absent_rows,
    cite_precisions,
    describe_purpose,
    label,
    markdown_table,
    recipe_table,
)
from querydet.model_zoo.published import Row, Table


def test_table():
    assert markdown_table(["a", "b"], [["1", "2"], ["3", ""]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 |  |"


def test_a_project_has_a_line_for_each_of_its_recipes():
    lines = recipe_table("dino", lambda name: f"our {name}").splitlines()
    assert lines[0] == "| recipe | stands for | published AP | trained by us |"
    (line,) = [line for line in lines if line.startswith("| [dino_dn50_12ep]")]
    assert line == (
        "| [dino_dn50_12ep](configs/dino_dn50_12ep.py) | table 7: 50 of DN-DETR's | 46.7 (DINO, table 7) "
        "| our dino_dn50_12ep |"
    )


def test_a_project_with_masks_has_a_column_of_their_numbers():
    lines = recipe_table("ms_detr", lambda name: "no").splitlines()
    assert lines[0] == "| recipe | stands for | published AP | published mask AP | trained by us |"
    (line,) = [line for line in lines if line.startswith("| [ms_mask_deformable_detr_r50_12ep]")]
    assert line.endswith(" | 47.1 (MS-DETR, table 7) | 31.5 (MS-DETR, table 7) | no |")
    (line,) = [line for line in lines if line.startswith("| [ms_detr_r50_12ep]")]
    assert line.endswith(" |  | no |")


def test_rows_that_a_recipe_stands_for():
    assert describe_purpose("dino_ablation_row2_12ep") == "DINO, table 4: row 2, DN-DETR optimised"
    assert describe_purpose("dino_ablation_row2_12ep", "DINO") == "table 4: row 2, DN-DETR optimised"
    assert describe_purpose("dino_swin_l_5scale_12ep") == "IDEA-Research/DINO: Swin-L, 5 scales"
    assert describe_purpose("dino_r50_4scale_bccd").startswith("trains from scratch")


def test_two_numbers_that_disagree_are_both_cited():
    cited = cite_precisions("dino_r50_4scale_12ep")
    assert cited.startswith("49.0 (DINO, table 1; ")
    assert "47.9 (DINO, tables 4, 5, 7)" in cited


def test_a_number_that_is_nowhere_is_not_an_empty_cell():
    assert cite_precisions("group_conditional_detr_r50_2groups_12ep") == "not printed"
    assert cite_precisions("dino_r50_4scale_bccd") == "none"
    assert cite_precisions("mask2former_r50_12ep") == "none", "it has masks alone"


def test_label_has_the_part_of_the_table():
    row = Row("row 1", {}, 12, "a", None, None)
    assert label(Table("A", "table 1", "left", "", (row,)), row) == "row 1 (left)"
    assert label(Table("A", "table 1", "", "", (row,)), row) == "row 1"


def test_rows_without_recipe_stand_by_their_reason():
    lines = absent_rows("dino").splitlines()
    assert lines[0] == (
        "* a detector of convolutions, without queries: DINO, table 1: Faster R-CNN, 5 scales; HTC, 5 scales. "
        "DINO, table 2: Faster R-CNN. DINO, table 5: Faster R-CNN."
    )
    assert "PETR" in absent_rows()
    assert "PETR" not in absent_rows("dino")
