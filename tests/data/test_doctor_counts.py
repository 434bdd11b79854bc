"""Numbers of objects: what is said of classes, of images, and of the whole."""

import collections

import pytest

from querydet.data.diagnosis import Diagnosis, Treatment
from querydet.data.doctor_counts import NO_ANNOTATIONS, examine_categories, examine_count, examine_totals


def test_classes_and_gaps():
    diagnosis = Diagnosis("x")
    categories = [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat"}]
    used = collections.Counter({2: 30})
    examine_categories(categories, used, {2: 28}, Treatment(num_classes=3), diagnosis)
    assert diagnosis.classes == ["cat", "dog"]
    assert diagnosis.objects_of == {"cat": 28, "dog": 0}
    assert diagnosis.findings["gap in the category ids"].places == ["3", "4"]
    assert diagnosis.findings["class without objects"].places == ["dog"]
    assert diagnosis.stops


@pytest.mark.parametrize(
    ("objects", "crowds", "kinds"),
    [
        (0, 0, ["image without objects"]),
        (0, 2, ["image with nothing but crowd regions"]),
        (3, 0, []),
        (4, 9, ["image with more objects than queries"]),
    ],
)
def test_an_image(objects, crowds, kinds):
    diagnosis = Diagnosis("x")
    examine_count("a.png", objects, crowds, Treatment(num_queries=3), diagnosis)
    assert list(diagnosis.findings) == kinds


def test_nothing_is_said_of_images_without_annotations():
    diagnosis = Diagnosis("x")
    diagnosis.add("note", NO_ANNOTATIONS, "", "x")
    examine_totals(2, 0, 0, Treatment(), diagnosis)
    examine_count("a.png", 0, 0, Treatment(), diagnosis)
    assert list(diagnosis.findings) == [NO_ANNOTATIONS]


@pytest.mark.parametrize(("crowds", "kind"), [(3, "all objects are crowd regions"), (0, "no image has any object")])
def test_a_set_without_objects(crowds, kind):
    diagnosis = Diagnosis("x")
    examine_totals(2, 0, crowds, Treatment(), diagnosis)
    assert list(diagnosis.findings) == [kind]
