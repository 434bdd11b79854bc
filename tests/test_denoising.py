"""The benchmark of denoising counts what a detector trains on, for the counts that are kept or those of a file."""

import json
from pathlib import Path

import pytest

from benchmarks import denoising
from querydet.modeling.queries import ContrastiveDenoising
from tests.models import make_targets


@pytest.mark.parametrize("rule", denoising.RULES)
@pytest.mark.parametrize("counts", [[3, 11], [0, 7], [1, 120]])
def test_it_counts_what_the_part_makes(rule: str, counts: list[int]) -> None:
    groups = denoising.RULES[rule](num_queries=denoising.NUM_QUERIES)
    (made,) = ContrastiveDenoising(num_classes=5, embed_dim=8, groups=groups)(make_targets(counts))
    positives = [len(known.queries) for known in made.group.known if len(known.queries)]
    assert denoising.real_positives(rule, counts) == positives
    assert denoising.queries(rule, counts) == len(made.group)


def test_the_last_line_is_that_of_batch_16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [{"id": number} for number in range(9)]
    annotations = [{"image_id": 0, "iscrowd": 0}] * 40 + [{"image_id": 1}, {"image_id": 2, "iscrowd": 1}]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    assert denoising.read_counts(path)[1].tolist() == [40, 1] + [0] * 7
    output = tmp_path / "out.json"
    assert denoising.main(["--no-time", "--annotations", str(path), "--output", str(output)]) == 0
    row = json.loads(output.read_text())["counts"][1]
    ours, theirs = (row[rule]["real_positives"] for rule in denoising.RULES)
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last == f"positives per image at batch 16: {ours} (per process {theirs})"
    assert 80 <= ours <= 100  # 80 where there are 40 objects, 100 where there is one
    assert theirs < ours


def test_the_published_counts_give_the_papers_number() -> None:
    record = json.loads(denoising.RESULTS.read_text())
    (row,) = (row for row in record["counts"] if row["batch"] == 16)
    assert row["per image"]["real_positives"] >= 90
    assert record["step"]["median_ratio"] > 0
