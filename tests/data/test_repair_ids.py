"""Ids that are written as something else become integers; what refers to them follows."""

import pytest

from querydet.data.repair_ids import repair_ids


def repaired(images, categories, annotations):
    """Repair ids of images, categories and annotations, these as (id, image id, category id)."""
    done = []
    content = {
        "images": [{"id": identifier} for identifier in images],
        "categories": [{"id": identifier} for identifier in categories],
        "annotations": [
            {"id": identifier, "image_id": image, "category_id": category}
            for identifier, image, category in annotations
        ],
    }
    repair_ids(content, lambda kind, place: done.append(kind))
    rows = [(each["id"], each["image_id"], each["category_id"]) for each in content["annotations"]]
    return [each["id"] for each in content["images"]], [each["id"] for each in content["categories"]], rows, done


@pytest.mark.parametrize("change", [float, str, lambda number: f"{number}.0", lambda number: f"{number:04d}"])
def test_numbers_in_any_writing(change):
    assert repaired([change(7), change(9)], [change(3)], [(change(1), change(7), change(3))])[:3] == (
        [7, 9],
        [3],
        [(1, 7, 3)],
    )


def test_images_and_annotations_may_be_written_differently():
    images, categories, rows, _ = repaired([7, 9.0], [3], [(1, "7", 3.0), (2, 9, "3")])
    assert (images, categories, rows) == ([7, 9], [3], [(1, 7, 3), (2, 9, 3)])


def test_names_get_the_next_free_numbers():
    images, _, rows, _ = repaired(["b.jpg", "a.jpg", 5], [1], [(1, "a.jpg", 1), (2, "b.jpg", 1), (3, 5, 1)])
    assert images == [6, 7, 5]
    assert rows == [(1, 7, 1), (2, 6, 1), (3, 5, 1)]


def test_texts_that_mean_one_number_stay_apart():
    images, _, rows, _ = repaired(["1", "01"], [1], [(1, "01", 1), (2, "1", 1)])
    assert len(set(images)) == 2
    assert rows == [(1, images[1], 1), (2, images[0], 1)]


def test_annotation_ids_are_given_anew_where_missing_or_taken():
    assert [row[0] for row in repaired([1], [1], [(None, 1, 1), (4, 1, 1), (4, 1, 1), ("x", 1, 1)])[2]] == [5, 4, 6, 7]


@pytest.mark.parametrize("images", [[1, 1], ["a", "a"], [True], [None], [1.5]])
def test_what_is_ambiguous_is_left(images):
    assert repaired(images, [1], [])[0] == images


def test_large_and_negative_numbers_keep_every_digit():
    number = 2**70 + 1
    assert repaired([str(number), str(-number)], [1], [(1, str(number), 1)])[:3] == (
        [number, -number],
        [1],
        [(1, number, 1)],
    )


def test_right_files_are_not_touched():
    assert repaired([7, 9], [3], [(0, 7, 3), (1, 9, 3)])[3] == []
