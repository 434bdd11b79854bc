"""The tables and pictures of `benchmarks.inference` and `benchmarks.growth`, from made-up results."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import growth, growth_picture, inference_peers, inference_profile, peers_picture
from benchmarks.train_step import DINO, Case

FOUND = {"boxes": [[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]], "scores": [0.9, 0.5], "labels": [3, 4]}


def row(name: str, **cells: Any) -> dict[str, Any]:
    about = next(each.about for each in inference_peers.contestants() if each.name == name)
    case = {"size": "640x640", "batch": 2, "threads": 1, "load_average": [0.1, 1.0]}
    return {**case, "name": name, **about, "version": "torch 2.14", **cells}


ROWS = [
    row(inference_peers.PLAIN, milliseconds=3000.0, peak_mib=900),
    row(inference_peers.FIRST, milliseconds=2000.0, peak_mib=800, agreement=1.0),
    row("querydet bfloat16", milliseconds=1000.0, peak_mib=700),
    row("libreyolo float32", absent="ModuleNotFoundError: No module named 'libreyolo'", version=""),
    row("OpenVINO float32", milliseconds=5000.0, peak_mib=1200, agreement=0.5),
    row("RF-DETR Nano float32", milliseconds=500.0, peak_mib=400),
]


def test_the_table_says_how_much_slower_and_who_is_absent() -> None:
    lines = inference_peers.make_tables(ROWS).splitlines()
    assert lines[0] == "**640x640, 2 images, 1 thread** (load average 0.1 to 1.0):"
    cells = {each[1]: each[2:-1] for line in lines[4:] if len(each := [cell.strip() for cell in line.split("|")]) > 1}
    assert cells["OpenVINO float32"] == ["DINO R50", "2.50", "2.50", "1200", "50%"]
    assert cells["querydet bfloat16"][1:3] == ["0.50", "0.50"]
    assert cells["libreyolo float32"][1] == "absent: ModuleNotFoundError: No module named 'libreyolo'"
    assert lines[-1] == "With torch 2.14."


def test_cases_are_apart() -> None:
    others = [{**each, "threads": 2} for each in ROWS]
    assert [len(group) for group in inference_peers.by_case([*ROWS, *others])] == [len(ROWS)] * 2


def test_other_detections_are_named() -> None:
    assert inference_peers.disagreements(ROWS) == ["OpenVINO float32 at 640x640 finds 50% of the detections"]


@pytest.mark.parametrize(
    ("changed", "share"),
    [
        ({}, 1.0),
        ({"labels": [3, 5]}, 0.5),
        ({"scores": [0.8, 0.5]}, 0.5),
        ({"boxes": [[0.0, 0.0, 0.5, 0.5], [0.6, 0.5, 1.0, 1.0]]}, 0.5),
        ({"boxes": FOUND["boxes"][::-1], "scores": FOUND["scores"][::-1], "labels": FOUND["labels"][::-1]}, 1.0),
        ({"boxes": [], "scores": [], "labels": []}, 0.0),
    ],
)
def test_detections_agree_in_label_score_and_box(changed: dict[str, Any], share: float) -> None:
    assert inference_peers.share_found(FOUND, {**FOUND, **changed}) == share


def test_detections_of_other_weights_and_fewer_bits_are_not_compared() -> None:
    results = dict.fromkeys((inference_peers.PLAIN, inference_peers.FIRST), FOUND)
    results |= {"querydet float32, Deformable DETR": FOUND, "querydet bfloat16": FOUND}
    assert inference_peers.agreements({**results, "RF-DETR Nano float32": None}) == {inference_peers.FIRST: 1.0}
    assert inference_peers.agreements({inference_peers.FIRST: FOUND}) == {}


def test_contestants_are_chosen_by_type_and_part_of_their_name() -> None:
    assert {each.about["dtype"] for each in inference_peers.chosen([], ["int8"])} == {"int8"}
    assert [each.name for each in inference_peers.chosen(["rf-detr"], None)] == [
        "RF-DETR Nano float32",
        "RF-DETR Large float32",
    ]


def test_graphs_of_another_commit_are_written_again(tmp_path: Path) -> None:
    graph = tmp_path / "dino_640x640.onnx"
    for current, kept in (("a", False), ("a", True), ("b", False)):
        graph.touch()
        inference_peers.remove_old(tmp_path, current)
        assert graph.exists() == kept


def test_the_picture_has_a_bar_for_each_that_ran(tmp_path: Path) -> None:
    bars = peers_picture.arrange(ROWS)
    assert [(label, seconds) for label, seconds, _ in bars] == [
        ("DINO R50, same weights", None),
        ("querydet bfloat16", 0.5),
        ("querydet float32", 1.0),
        ("OpenVINO float32", 2.5),
        ("RF-DETR, another model", None),
        ("RF-DETR Nano float32", 0.25),
    ]
    peers_picture.draw(ROWS, tmp_path / "peers.png", "a processor")
    with Image.open(tmp_path / "peers.png") as picture:
        assert picture.width > 500


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::addmm", "products"),
        ("mkldnn::_linear_pointwise", "products"),
        ("mkldnn::_convolution_pointwise", "convolutions"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("querydet::ms_deform_attn", "sampling"),
        ("aten::copy_", "rest"),
        ("aten::native_layer_norm", "rest"),
    ],
)
def test_operators_have_a_kind(operator: str, kind: str) -> None:
    assert inference_profile.kind_of(operator) == kind


def test_the_profile_adds_up() -> None:
    times = {"aten::addmm": (600.0, 20), "mkldnn::_convolution_pointwise": (300.0, 10), "aten::copy_": (100.0, 4)}
    summary = inference_profile.summarise(times, repeats=2)
    assert summary["percent"] == {"sampling": 0, "attention": 0, "convolutions": 30, "products": 60, "rest": 10}
    assert summary["useful"] == 90
    assert summary["rest"] == {"aten::copy_": {"percent": 10, "calls": 2}}
    assert "The rest is `aten::copy_` 10.0 % (2 calls)." in inference_profile.make_table([summary])


def test_the_exponent_is_that_of_a_power() -> None:
    assert growth.exponent([1, 2, 4, 8], [3.0, 12.0, 48.0, 192.0]) == pytest.approx(2)


def test_every_axis_changes_one_size() -> None:
    base = Case(DINO, size=448)
    for axis in growth.axes(base).values():
        first, second = (vars(axis.case(value)) for value in axis.values[:2])
        assert len([key for key in first if first[key] != second[key]]) == 1


def test_growth_is_drawn_and_described(tmp_path: Path) -> None:
    curve = {"seconds": [1.0, 2.0], "exponent": 0.43}
    axes = {
        "queries": {"name": "queries", "values": [100, 500], "curves": {"detection": curve, "training step": curve}},
        "groups": {"name": "groups of queries", "values": [1, 11], "curves": {"training step": curve}},
    }
    record = {"command": "c", "date": "d", "commit": "0123456789", "machine": "m", "side": 448, "axes": axes}
    growth_picture.draw(record, tmp_path / "growth.png")
    with Image.open(tmp_path / "growth.png") as picture:
        assert picture.width > 500
    lines = growth.describe(record).splitlines()
    assert lines[-2].split("|")[1:5] == [
        " queries           ",
        " 100 to 500 ",
        *[" 1.00 s to 2.00 s, exponent 0.43 "] * 2,
    ]
