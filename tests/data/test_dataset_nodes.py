"""The nodes of a data set in a config, and the files that they read."""

import pytest
from detectron2.config import LazyCall as L
from omegaconf import OmegaConf

from querydet.data import choose, first, join_datasets, load_coco, without_first
from querydet.data.dataset_nodes import files_of, nodes_of


def file(name):
    return L(load_coco)(annotations=f"{name}.json", images=name)


def ranges(node):
    cfg = OmegaConf.create({"dataset": node}, flags={"allow_objects": True})
    return [(each.node.annotations, each.start, each.stop) for each in files_of(cfg.dataset)]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (file("a"), [("a.json", 0, None)]),
        (L(first)(dataset=file("a"), count=5), [("a.json", 0, 5)]),
        (L(without_first)(dataset=file("a"), count=5), [("a.json", 5, None)]),
        (L(choose)(dataset=file("a"), start=2, stop=8), [("a.json", 2, 8)]),
        (L(first)(dataset=L(without_first)(dataset=file("a"), count=5), count=3), [("a.json", 5, 8)]),
        (L(choose)(dataset=L(choose)(dataset=file("a"), start=2, stop=8), start=1, stop=90), [("a.json", 3, 8)]),
        (
            L(join_datasets)(datasets=[file("a"), L(without_first)(dataset=file("b"), count=7)]),
            [("a.json", 0, None), ("b.json", 7, None)],
        ),
        (
            L(first)(dataset=L(join_datasets)(datasets=[file("a"), file("b")]), count=7),
            [("a.json", 0, None), ("b.json", 0, None)],
        ),
        (L(join_datasets)(datasets=[L(list)(root="x")]), []),
    ],
)
def test_files_of_a_data_set(node, expected):
    assert ranges(node) == expected


def test_targets_may_be_names():
    node = {"_target_": "querydet.data.joined.first", "dataset": {"annotations": "a.json", "images": "a"}, "count": 5}
    assert ranges(node) == [("a.json", 0, 5)]


def test_nodes_are_found_at_their_keys():
    cfg = OmegaConf.create(
        {"test": L(join_datasets)(datasets=[file("a"), L(first)(dataset=file("b"), count=1)])},
        flags={"allow_objects": True},
    )
    keys = [key for key, _ in nodes_of(cfg, "test")]
    assert keys == ["test", "test.datasets.0", "test.datasets.1", "test.datasets.1.dataset"]
    assert all(OmegaConf.select(cfg, key) == node for key, node in nodes_of(cfg, "test"))
    assert list(nodes_of(cfg, "train")) == []
