"""Tables of parameters, FLOPs and times: every number of the counts, in its unit."""

from querydet.analysis.activation_memory import Kept
from querydet.analysis.flops import OPERATOR, FlopCount, ParameterCount
from querydet.analysis.measure import Measured
from querydet.analysis.timing import Timing
from querydet.cli.model_tables import Facts, flop_table, parameter_table, part_table, time_table

COUNT = FlopCount(
    by_op={"conv": 30_000_000_000, OPERATOR: 2_000_000_000},
    by_module={"backbone": {"conv": 30_000_000_000}, "encoder": {OPERATOR: 2_000_000_000}},
    elementwise={},
)
FACTS = Facts(
    config="dino.py",
    num_classes=80,
    parameters=ParameterCount(
        47_000_000, 46_000_000, {"backbone": (40_000_000, 39_000_000), "encoder": (7_000_000,) * 2}
    ),
    flops={"800x1066": COUNT},
    activations={"800x1066": {"backbone": 5_000_000}},
    published={"official_code": {"parameters": 47_000_001}, "paper": {"parameters_millions": 47, "gflops": 279}},
)


def cells(table: str) -> list[list[str]]:
    """Rows of a Markdown table without its rule."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    return [rows[0], *rows[2:]]


def test_parts_add_up_to_the_last_row() -> None:
    _, backbone, encoder, total = cells(part_table(FACTS))
    assert backbone[:3] == ["backbone", "40,000,000", "39,000,000"]
    assert (backbone[3], encoder[4]) == ("30.0", "2")
    assert total[:3] == ["all", "47,000,000", "46,000,000"]


def test_parameters_stand_beside_the_published_ones() -> None:
    ((config, classes, ours, trainable, official, *rest),) = cells(parameter_table([FACTS]))[1:]
    assert (config, classes, ours, trainable) == ("dino.py", "80", "47,000,000", "46,000,000")
    assert (official, rest) == ("47,000,001", ["", "47 M"])


def test_flops_have_a_row_for_each_size() -> None:
    (row,) = cells(flop_table([FACTS]))[1:]
    assert row[:4] == ["dino.py", "800x1066", "30.0", "32.0"]
    assert row[-1] == "279 G"
    assert row[5] == "15.0"  # multiply-adds without the operator


def test_times_are_medians_of_the_parts_that_were_measured() -> None:
    timing = Timing({"encoder": [3.0, 1.0, 2.0], "other": [0.5, 0.5, 0.5], "total": [3.5, 1.5, 2.5]}, 2**30)
    table = time_table(Measured("cpu", timing, None, Kept({"encoder": 2**20}, 3)), "1 x 64x64", 3)
    assert "1 x 64x64" in table
    assert any(row[0] == "encoder" and "2.0" in row[1] for row in cells(table))
