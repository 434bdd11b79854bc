"""Masks of samples: one bitmap for every form of an outline, moved with the image, aligned, bounded in memory."""

import copy
import json

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, BoxMode
from PIL import Image

from querydet.data import (
    DetrDatasetMapper,
    NonEmptyMaskMapper,
    build_train_loader,
    detr_train_augmentations,
    large_scale_jitter,
    load_coco,
)
from querydet.data import mask_targets as module
from querydet.data.mask_targets import draw_masks, have_outlines, most_masks
from querydet.data.masks import to_bitmap, to_run_lengths
from tests.data.test_masks import random_polygons

H, W = 60, 80
AUGMENTATIONS = {
    "none": lambda: [],
    "flip": lambda: [T.RandomFlip(1.0)],
    "vertical flip": lambda: [T.RandomFlip(1.0, horizontal=False, vertical=True)],
    "larger": lambda: [T.Resize((90, 130))],
    "smaller": lambda: [T.Resize((31, 17))],
    "crop": lambda: [T.RandomCrop("absolute", (30, 41))],
    "detr": lambda: detr_train_augmentations(
        short_sides=[40, 50], max_side=70, crop_prob=0.5, crop_short_sides=[50], crop_sides=[30, 40]
    ),
    "jitter": lambda: large_scale_jitter(image_size=64),
    "detectron2's jitter": lambda: [T.ResizeScale(0.1, 2.0, 64, 64), T.FixedSizeCrop((64, 64))],
    "rotation": lambda: [T.RandomRotation([30.0, 30.0])],
    "extent": lambda: [T.RandomExtent((0.5, 1.5), (0.2, 0.2))],
    "colours": lambda: [T.RandomBrightness(0.5, 1.5), T.RandomLighting(5.0)],
}


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)).save(path)
    return {"file_name": str(path), "height": H, "width": W, "image_id": 1, "annotations": []}


def annotation(number, segmentation, box=(0, 0, W, H), **more):
    return {
        "id": number,
        "bbox": list(box),
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": number,
        "segmentation": segmentation,
        **more,
    }


def sample(record, augmentations=(), seed=0, mapper=DetrDatasetMapper, **options):
    np.random.seed(seed)  # noqa: NPY002 - Detectron2 draws from it
    return mapper(is_train=True, augmentations=list(augmentations), **options)(record)


def masks_of(record, *arguments, **options):
    return sample(record, *arguments, **options)["instances"].gt_masks.tensor


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_form_of_an_outline_is_one_bitmap_under_every_augmentation(record, name, seed):
    rng = np.random.default_rng(seed)
    polygons = [random_polygons(rng, H, W, beyond=0.2) for _ in range(5)]
    drawn = []
    for form in (lambda p: p, lambda p: [np.asarray(part) for part in p], lambda p: to_run_lengths(p, H, W)):
        record["annotations"] = [annotation(number, form(outline)) for number, outline in enumerate(polygons)]
        drawn.append(sample(record, AUGMENTATIONS[name](), seed)["instances"])
    assert isinstance(drawn[0].gt_masks, BitMasks)
    assert drawn[0].gt_masks.tensor.shape == (len(drawn[0]), *drawn[0].image_size)
    assert all(torch.equal(drawn[0].gt_masks.tensor, other.gt_masks.tensor) for other in drawn[1:])
    assert drawn[0].gt_masks.tensor.dtype == torch.bool


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "colours"])
def test_a_mask_moves_as_the_image_does(record, name, seed):
    """An image that shows nothing but the object: white in it, black around."""
    bitmap = np.zeros((H, W), bool)
    bitmap[10:40, 20:70] = True
    Image.fromarray(bitmap.astype(np.uint8) * 255).save(record["file_name"])
    record["annotations"] = [annotation(1, to_run_lengths([20, 10, 70, 10, 70, 40, 20, 40], H, W))]
    found = sample(record, AUGMENTATIONS[name](), seed)
    shown = found["image"][0] > 160  # more than the grey of padding
    masks = found["instances"].gt_masks.tensor
    mask = masks[0] if len(masks) else torch.zeros_like(shown)
    near = [torch.nn.functional.max_pool2d(part[None].float(), 5, 1, 2)[0] > 0 for part in (shown, ~shown)]
    assert not ((mask ^ shown) & ~(near[0] & near[1])).any()  # images are interpolated along the edge, masks are not


def test_without_augmentation_masks_are_those_of_the_file(record):
    outlines = [random_polygons(np.random.default_rng(seed), H, W) for seed in range(3)]
    record["annotations"] = [annotation(number, outline) for number, outline in enumerate(outlines)]
    expected = np.stack([to_bitmap(outline, H, W) for outline in outlines])
    assert np.array_equal(masks_of(record).numpy(), expected)
    assert np.array_equal(masks_of(record, [T.RandomFlip(1.0)]).numpy(), expected[:, :, ::-1])
    assert np.array_equal(masks_of(record, [T.CropTransform(5, 7, 30, 20)]).numpy(), expected[:, 7:27, 5:35])


def test_boxes_masks_and_classes_stay_in_order(record):
    record["annotations"] = []
    for number in range(30):
        x, y = 2 * number, number
        outline = [x, y, x + 4, y, x + 4, y + 3, x, y + 3]
        box = (0, 0, 0, 3) if number % 7 == 3 else (x, y, 4, 3)  # every seventh box is empty
        record["annotations"].append(annotation(number, [outline], box, iscrowd=int(number % 5 == 4)))
    for augmentations in ((), [T.RandomFlip(1.0), T.CropTransform(10, 5, 50, 20)]):
        for limit in (1000, 6):
            instances = sample(record, augmentations, max_objects=limit)["instances"]
            assert 0 < len(instances) <= limit
            assert not any(number % 7 == 3 or number % 5 == 4 for number in instances.gt_classes.tolist())
            assert instances.gt_classes.tolist() == sorted(instances.gt_classes.tolist())
            assert torch.equal(instances.gt_masks.get_bounding_boxes().tensor, instances.gt_boxes.tensor)


def test_an_object_without_pixels_is_kept_or_left_out(record):
    corner = [0, 0, 20, 0, 0, 20]  # its box reaches further than its pixels
    record["annotations"] = [annotation(1, [corner], (0, 0, 20, 20)), annotation(2, [[15, 15, 19, 15, 19, 19, 15, 19]])]
    crop = [T.CropTransform(14, 14, 30, 30)]
    kept = sample(record, crop)["instances"]
    assert kept.gt_classes.tolist() == [1, 2]
    assert kept.gt_masks.nonempty().tolist() == [False, True]
    assert kept.gt_boxes.tensor[0].tolist() == [0, 0, 6, 6]  # not tightened
    dropped = sample(record, crop, mapper=NonEmptyMaskMapper)["instances"]
    assert dropped.gt_classes.tolist() == [2]
    assert dropped.gt_boxes.tensor.shape == (1, 4)


def test_crowds_are_not_trained_on(record):
    record["annotations"] = [annotation(1, to_run_lengths([0, 0, 9, 0, 9, 9], H, W), iscrowd=1)]
    assert len(sample({**record, "has_masks": True})["instances"].gt_masks) == 0


def test_an_image_without_objects_has_masks_where_the_data_have(record):
    assert not sample(record)["instances"].has("gt_masks")
    masks = masks_of({**record, "has_masks": True}, [T.Resize((20, 30))])
    assert masks.shape == (0, 20, 30)


def test_samples_without_outlines_are_as_before(record):
    with_outlines = copy.deepcopy(record)
    for number in range(40):
        box = (number, number % 9, 5 + number % 3, 6)
        record["annotations"].append(annotation(number, None, box))
        del record["annotations"][-1]["segmentation"]
        with_outlines["annotations"].append(annotation(number, [[1, 1, 5, 1, 5, 5]], box))
    for name, make in AUGMENTATIONS.items():
        plain = sample(record, make(), seed=3, max_objects=20)
        masked = sample(with_outlines, make(), seed=3, max_objects=20)
        assert not plain["instances"].has("gt_masks"), name
        assert torch.equal(plain["image"], masked["image"])
        assert torch.equal(plain["instances"].gt_boxes.tensor, masked["instances"].gt_boxes.tensor)
        assert torch.equal(plain["instances"].gt_classes, masked["instances"].gt_classes)


def test_the_memory_of_masks_is_bounded_by_a_random_subset(record, monkeypatch):
    assert most_masks((800, 1333)) == 251
    assert most_masks((10**5, 10**5)) == 1
    record["annotations"] = [annotation(number, [[1, 1, 9, 1, 9, 9]]) for number in range(50)]
    monkeypatch.setattr(module, "MAX_MASK_PIXELS", 10 * H * W)
    kept = [tuple(sample(record, seed=seed)["instances"].gt_classes.tolist()) for seed in range(4)]
    assert all(len(classes) == 10 for classes in kept)
    assert len(set(kept)) == 4
    for item in record["annotations"]:
        del item["segmentation"]
    assert len(sample(record)["instances"]) == 50  # boxes are not bounded by it


def test_a_thousand_objects_in_a_worker(tmp_path):
    side = 400
    Image.new("RGB", (side, side)).save(tmp_path / "a.png")
    rng = np.random.default_rng(0)
    entries = []
    for number in range(1000):
        x, y = (float(value) for value in rng.uniform(0, side - 12, 2))
        outline = [x, y, x + 10, y, x + 10, y + 8, x, y + 8]
        entries.append(
            {"id": number, "image_id": 1, "category_id": 1, "bbox": [x, y, 10, 8], "segmentation": [outline]}
        )
    content = {"images": [{"id": 1, "file_name": "a.png", "width": side, "height": side}], "annotations": entries}
    (tmp_path / "a.json").write_text(json.dumps({**content, "categories": [{"id": 1, "name": "x"}]}))
    dataset = load_coco(str(tmp_path / "a.json"), str(tmp_path), masks=True)
    mapper = DetrDatasetMapper(is_train=True, augmentations=[T.Resize((800, 1333))])
    loader = build_train_loader(dataset=dataset, mapper=mapper, total_batch_size=1, num_workers=1)
    ((found,),) = (batch for batch, _ in zip(loader, range(1), strict=False))
    assert found["instances"].gt_masks.tensor.shape == (251, 800, 1333)
    assert bool(found["instances"].gt_masks.nonempty().all())


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [W, H], "counts": [W * H]}, r"annotation 4: .*size is \[80, 60\]"),
        ({"size": [H, W], "counts": "PPP"}, "annotation 4: .*cannot be used"),
        ([[1, 2, 3, 4, 5, float("nan")]], "annotation 4: .*no finite numbers"),
        ([[1, 2, 3]], "annotation 4: .*odd number"),
        (None, "annotation 4 has no segmentation"),
    ],
)
def test_broken_outlines_of_other_loaders_name_image_and_annotation(record, segmentation, message):
    record["annotations"] = [annotation(3, [[1, 1, 9, 1, 9, 9]]), annotation(4, segmentation)]
    with pytest.raises(ValueError, match=f"image.png: {message}"):
        sample(record)


def test_an_augmentation_that_leaves_masks_alone_is_refused():
    class Halved(T.Transform):
        def apply_image(self, image):
            return image[::2]

        def apply_coords(self, coords):
            return coords / (1, 2)

        def apply_segmentation(self, segmentation):
            return segmentation

    with pytest.raises(ValueError, match=r"makes masks of \(60, 80\)"):
        draw_masks([annotation(1, [[1, 1, 9, 1, 9, 9]])], Halved(), (H, W), (H // 2, W))


def test_what_has_outlines():
    assert not have_outlines([])
    assert have_outlines([annotation(1, [[1, 1, 9, 1, 9, 9]])])
    assert not have_outlines([annotation(1, None), {"bbox": []}])
