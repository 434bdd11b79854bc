import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from querydet.utils.run_lengths import checked, decode_masks, encode_masks, mask_areas, read_counts


def random_masks(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, height, width, generator=generator) > 0.6


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (7, 5), (64, 300)])
def test_masks_survive_a_round_trip(size):
    masks = random_masks(20, *size)
    assert torch.equal(decode_masks(encode_masks(masks), *size), masks)
    assert decode_masks(encode_masks(masks[:0]), *size).shape == (0, *size)
    turned = random_masks(20, *size).transpose(1, 2)  # whose rows do not lie side by side
    assert torch.equal(decode_masks(encode_masks(turned), *size[::-1]), turned)


def test_counts_are_those_of_the_format():
    mask = random_masks(1, 50, 40, seed=3)[0]
    columns = mask.T.flatten().int().tolist()
    runs, value = [0], 0
    for pixel in columns:
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    (encoded,) = encode_masks(mask[None])
    assert read_counts(encoded["counts"]).tolist() == runs


def test_lists_and_texts_give_one_mask():
    mask = random_masks(1, 31, 17, seed=5)
    (encoded,) = encode_masks(mask)
    listed = {"size": [31, 17], "counts": read_counts(encoded["counts"]).tolist()}
    assert checked(listed, 31, 17) == checked(encoded, 31, 17) == encoded


def test_long_runs_are_read():
    mask = np.zeros((3000, 4000), dtype=np.uint8, order="F")
    mask[1500:, 2000] = 1
    encoded = coco_mask.encode(mask)
    assert read_counts(encoded["counts"]).sum() == mask.size
    assert checked({"size": [3000, 4000], "counts": encoded["counts"]}, 3000, 4000)["counts"]


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        ({"size": [4, 4]}, "'size' and 'counts'"),
        ([1, 2], "'size' and 'counts'"),
        ({"size": [4, 5], "counts": [16]}, "the image has"),
        ({"size": [4, 4], "counts": [17]}, "counts"),
        ({"size": [4, 4], "counts": [-1, 17]}, "negative"),
        ({"size": [4, 4], "counts": [4, True, 11]}, "whole numbers"),
        ({"size": [4, 4], "counts": [4, 8.5, 3.5]}, "whole numbers"),
        ({"size": [4, 4], "counts": "\x7f"}, "characters"),
        ({"size": [4, 4], "counts": "ää"}, "characters"),
        ({"size": [4, 4], "counts": "P"}, "end within"),
        ({"size": [4, 4], "counts": "PPPPPPPPPP0"}, "more than"),
        ({"size": [4, 4], "counts": "00"}, "cover"),
        ({"size": [4, 4], "counts": ""}, "cover"),
        ({"size": [4, 4], "counts": None}, "counts"),
    ],
)
def test_broken_run_lengths_are_refused(mask, problem):
    with pytest.raises(ValueError, match=problem):
        checked(mask, 4, 4)


def test_no_text_makes_the_library_read_beyond_its_mask():
    generator = np.random.default_rng(0)
    accepted = refused = 0
    for text in [mask["counts"] for mask in encode_masks(random_masks(60, 6, 6))]:
        for _ in range(30):
            codes = list(text)
            codes[generator.integers(len(codes))] = chr(generator.integers(48, 112))
            try:
                mask = checked({"size": [6, 6], "counts": "".join(codes)}, 6, 6)
            except ValueError:
                refused += 1
                continue
            accepted += 1
            assert decode_masks([mask], 6, 6).shape == (1, 6, 6)
    assert accepted
    assert refused


def test_areas_are_numbers_of_pixels():
    bitmaps = torch.rand(5, 13, 17, generator=torch.Generator().manual_seed(0)) < 0.3
    bitmaps[2] = False
    assert mask_areas(encode_masks(bitmaps)) == bitmaps.sum((1, 2)).tolist()
    assert mask_areas([]) == []
