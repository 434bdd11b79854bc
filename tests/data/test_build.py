"""Loaders: workers, processes and resuming do not change what comes out; evaluation sees every image once."""

import itertools
import os

import detectron2.utils.comm as comm
import pytest
import torch
from detectron2.data import transforms as T

from querydet.data import (
    BadImageError,
    DetrDatasetMapper,
    RepeatFactors,
    build_test_loader,
    build_train_loader,
    class_names,
    load_coco,
)


@pytest.fixture
def dataset(write_coco):
    content = {
        "images": [{"id": k, "file_name": f"{k}.png", "width": 20, "height": 16} for k in range(5)],
        "annotations": [
            {"id": k, "image_id": k, "category_id": 1, "bbox": [k, 1, 5, 6]} for k in range(4)
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }  # fmt: skip
    return load_coco(*write_coco(content))


def train_mapper(**options):
    return DetrDatasetMapper(
        is_train=True, augmentations=[T.RandomFlip(), T.RandomCrop("relative", (0.5, 0.5))], **options
    )


def take(dataset, count, **options):
    options = {"total_batch_size": 4, "num_workers": 0, "seed": 3, **options}
    loader = build_train_loader(dataset=dataset, mapper=options.pop("mapper", train_mapper()), **options)
    iterator = iter(loader)
    try:
        return [[fingerprint(sample) for sample in batch] for batch in itertools.islice(iterator, count)]
    finally:
        iterator.close()


def fingerprint(sample):
    boxes = sample["instances"].gt_boxes.tensor.flatten().tolist()
    return sample["image_id"], sample["seed"], sample["image"].sum().item(), boxes


def as_rank(monkeypatch, rank, world_size):
    monkeypatch.setattr(comm, "get_rank", lambda: rank)
    monkeypatch.setattr(comm, "get_world_size", lambda: world_size)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_do_not_change_the_samples(dataset, num_workers):
    assert take(dataset, 6, num_workers=num_workers) == take(dataset, 6)


def test_spawned_workers_do_not_change_the_samples(dataset):
    """As in ranks that Detectron2's launch spawned, whose workers are spawned as well: everything is pickled."""
    loader = build_train_loader(dataset=dataset, mapper=train_mapper(), total_batch_size=4, num_workers=1, seed=3)
    loader.multiprocessing_context = "spawn"
    batches = [[fingerprint(sample) for sample in batch] for batch in itertools.islice(loader, 2)]
    assert batches == take(dataset, 2)


def test_resuming_continues_the_stream(dataset):
    assert take(dataset, 3, start_iteration=4) == take(dataset, 7)[4:]
    assert take(dataset, 3, start_iteration=4, num_workers=2) == take(dataset, 7)[4:]


def test_processes_share_the_same_batches(dataset, monkeypatch):
    single = take(dataset, 5)
    shares = []
    for rank in range(2):
        as_rank(monkeypatch, rank, 2)
        shares.append(take(dataset, 5))
    for batch, first, second in zip(single, *shares, strict=True):
        assert (first, second) == (batch[0::2], batch[1::2])


def test_the_number_of_images_is_exposed(dataset):
    loader = build_train_loader(dataset=dataset, mapper=train_mapper(), total_batch_size=2)
    assert len(loader.dataset) == 5
    assert class_names(loader.dataset) == ["thing"]


def test_repeats_are_the_same_for_any_workers_processes_and_starts(dataset, monkeypatch):
    """Each of four images has an object of the one class, the fifth has none: factors 1.118 and 1."""
    options = {"repeat": RepeatFactors(threshold=1.0)}
    whole = take(dataset, 8, **options)
    assert whole != take(dataset, 8)
    assert take(dataset, 8, num_workers=2, **options) == whole
    assert take(dataset, 3, start_iteration=5, num_workers=1, **options) == whole[5:]
    for rank in range(2):
        as_rank(monkeypatch, rank, 2)
        assert take(dataset, 8, **options) == [batch[rank::2] for batch in whole]


def test_repeats_are_counted_in_an_epoch(dataset):
    def tenfold(images):
        return [10.0] * len(images)

    loader = build_train_loader(dataset=dataset, mapper=train_mapper(), total_batch_size=2, repeat=tenfold)
    assert (len(loader.dataset), loader.dataset.epoch_length) == (5, 50)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_global_generator_is_not_drawn_from(dataset, num_workers):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    take(dataset, 2, num_workers=num_workers)
    list(build_test_loader(dataset=dataset, mapper=train_mapper(), num_workers=num_workers))
    # The mapper of the test loader is random on purpose here, but it draws from numpy.
    assert torch.equal(torch.get_rng_state(), before)


def test_a_bad_image_is_replaced_by_the_same_one_for_any_number_of_workers(dataset):
    os.remove(dataset[1]["file_name"])
    results = [take(dataset, 6, num_workers=count, mapper=train_mapper(on_bad_image="skip")) for count in (0, 2)]
    assert results[0] == results[1]
    assert {sample[0] for batch in results[0] for sample in batch} == {0, 2, 3, 4}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_bad_image_stops_the_loader_with_its_name(dataset, num_workers):
    os.remove(dataset[1]["file_name"])
    with pytest.raises(BadImageError, match=r"1\.png cannot be used"):
        take(dataset, 6, num_workers=num_workers)


def test_a_data_set_of_bad_images_stops_the_workers(dataset):
    for record in dataset:
        os.remove(record["file_name"])
    with pytest.raises(ValueError, match="5 images in a row"):
        take(dataset, 1, num_workers=1, mapper=train_mapper(on_bad_image="skip"))


@pytest.mark.parametrize(("world_size", "batch_size"), [(1, 1), (1, 2), (2, 2), (3, 1), (8, 1)])
def test_testing_sees_every_image_once(dataset, monkeypatch, world_size, batch_size):
    seen = []
    for rank in range(world_size):
        as_rank(monkeypatch, rank, world_size)
        mapper = DetrDatasetMapper(is_train=False, augmentations=[])
        loader = build_test_loader(dataset=dataset, mapper=mapper, batch_size=batch_size, num_workers=0)
        batches = list(loader)
        assert len(batches) == len(loader)
        assert all(len(batch) <= batch_size for batch in batches)
        seen += [sample["image_id"] for batch in batches for sample in batch]
    assert seen == [0, 1, 2, 3, 4]


def test_testing_can_leave_out_bad_images(dataset):
    for index in (0, 1, 4):
        os.remove(dataset[index]["file_name"])
    mapper = DetrDatasetMapper(is_train=False, augmentations=[], on_bad_image="skip")
    loader = build_test_loader(dataset=dataset, mapper=mapper, batch_size=2, num_workers=0)
    assert [[sample["image_id"] for sample in batch] for batch in loader] == [[2, 3]]


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="training data set has no images"):
        build_train_loader(dataset=[], mapper=train_mapper(), total_batch_size=1)
    with pytest.raises(ValueError, match="test data set has no images"):
        build_test_loader(dataset=[], mapper=train_mapper())


def test_a_batch_that_processes_cannot_share_is_refused(dataset, monkeypatch):
    as_rank(monkeypatch, 0, 5)
    with pytest.raises(ValueError, match="total_batch_size=4 is less than an image for each of 5 processes"):
        take(dataset, 1)
