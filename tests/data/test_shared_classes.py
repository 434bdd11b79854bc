"""The classes that several data sets have in common."""

import pytest
from detectron2.data import MetadataCatalog

from querydet.data import DetectionDataset
from querydet.data.catalog import register
from querydet.data.shared_classes import classes_of, common_classes


@pytest.fixture
def named(request):
    """Registers classes under a name; the data set has no images."""

    def make(name, names, ids, absent=()):
        name = f"{request.node.name}_{name}"
        register(name, list, names, dict(zip(ids, range(len(names)), strict=True)), absent)
        return DetectionDataset([], name)

    return make


def test_classes_are_those_of_the_metadata(named):
    found = classes_of(named("one", ["cat", "dog"], [3, 7], absent=[1]))
    assert (found.names, found.index_of, found.absent) == (["cat", "dog"], {3: 0, 7: 1}, (1,))
    bare = DetectionDataset([], "shared_classes_bare")
    MetadataCatalog.get(bare.name).thing_classes = ["cat", "dog"]
    assert classes_of(bare).index_of == {0: 0, 1: 1}


def test_absent_classes_have_the_id_of_another_data_set_or_a_new_one(named):
    one = named("one", ["cat", "dog", "cow"], [3, 100, 101], absent=[1, 2])
    other = named("other", ["cat", "dog", "cow"], [3, 7, 100], absent=[2])
    found = common_classes([one, other])
    assert (found.index_of, found.absent) == ({3: 0, 7: 1, 8: 2}, (2,))


def test_the_first_difference_is_named(named):
    one, other = named("one", ["cat", "dog"], [3, 7]), named("other", ["cat", "cow"], [3, 7])
    with pytest.raises(ValueError, match=r"class 1 is 'dog' in data set '.*one', but 'cow' in data set '.*other'"):
        common_classes([one, other])
    with pytest.raises(ValueError, match=r"'dog' has the category id 7 in .*, but 8 in "):
        common_classes([one, named("third", ["cat", "dog"], [3, 8])])


def test_frequencies_are_those_that_are_known(named):
    datasets = [named(name, ["cat", "dog"], [1, 2]) for name in ("one", "other", "third")]
    for dataset, frequency in zip(datasets, (["r", ""], ["", "f"], ["c", "f"]), strict=True):
        MetadataCatalog.get(dataset.name).class_frequency.extend(frequency)
    assert common_classes(datasets[:2]).frequency == ("r", "f")
    assert common_classes([datasets[0], named("bare", ["cat", "dog"], [1, 2])]).frequency == ()
    with pytest.raises(ValueError, match=r"'cat' has the frequency 'r' in .*one', but 'c' in .*third'"):
        common_classes(datasets)
