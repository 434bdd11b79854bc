"""Known maps of classes, which are facts, and the config that names one."""

import pytest

from querydet.checkpoint.class_maps import CLASS_MAPS, class_map_of, find_class_map, plain_name
from querydet.checkpoint.conversion.coco_classes import COCO_NAMES

TABLE = CLASS_MAPS["objects365_to_coco"]


def test_every_class_of_coco_has_a_class_of_its_own():
    assert list(TABLE.rows) == [plain_name(name) for name in COCO_NAMES]
    assert len(set(TABLE.rows.values())) == 80
    assert all(0 <= row < TABLE.num_classes for row in TABLE.rows.values())


@pytest.mark.parametrize(("name", "category"), [("person", 1), ("bicycle", 47), ("bird", 57), ("toothbrush", 227)])
def test_rows_are_category_ids_less_one(name, category):
    assert TABLE.rows[name] + 1 == category


def test_files_with_an_unused_output_begin_at_the_next():
    assert TABLE.first_row(365) == 0
    assert TABLE.first_row(366) == 1
    with pytest.raises(ValueError, match=r"is for files of 365 classes \(or 366, .*, this one has 80: leave it out"):
        TABLE.first_row(80)


def test_the_config_names_a_map():
    assert class_map_of({}) is class_map_of({"init_class_map": None}) is find_class_map("") is None
    assert class_map_of({"init_class_map": "objects365_to_coco", "init_surgery": True}) is TABLE
    with pytest.raises(ValueError, match=r"has no effect without train\.init_surgery=True"):
        class_map_of({"init_class_map": "objects365_to_coco", "init_surgery": False})
    with pytest.raises(ValueError, match="null or one of objects365_to_coco, got 'coco'"):
        class_map_of({"init_class_map": "coco", "init_surgery": True})
