"""Attention maps of a training step, by hand."""

import pytest
import torch

from querydet.analysis.attention_memory import attention_memory, describe_memory, is_dense
from querydet.engine.freezing import freeze_parts
from tests.models import tiny_detector

NUMBER = 4  # bytes


def test_maps_of_encoder_and_decoder_by_hand():
    """2 layers, 3 images, 4 heads, 5 x 7 tokens of stride 32, 12 queries."""
    found = attention_memory(tiny_detector("detr"), 160, 200, 3)
    assert (found.tokens, found.queries) == (35, 12)
    assert found.encoder == 2 * 3 * 4 * 35 * 35 * NUMBER
    assert found.decoder == 2 * 3 * 4 * 12 * 35 * NUMBER
    assert found.total == found.encoder + found.decoder


def test_levels_beyond_the_maps_of_the_backbone_count_too():
    """Strides 8, 16 and 32 give 7 x 9, 4 x 5 and 2 x 3 tokens, the further level 1 x 2; queries have 3 patterns."""
    found = attention_memory(tiny_detector("dn_deformable_encoder"), 56, 72, 2)
    tokens = 63 + 20 + 6 + 2
    assert (found.tokens, found.queries, found.encoder) == (tokens, 36, 0)
    assert found.decoder == 2 * 2 * 4 * 36 * tokens * NUMBER


def test_a_pixel_more_is_a_token_more():
    detector = tiny_detector("conditional_detr")
    tokens = [attention_memory(detector, 64, width, 1).tokens for width in (32, 33, 64, 65)]
    assert tokens == [2, 4, 4, 6]


def test_only_one_layer_is_kept_where_it_is_computed_again():
    kept = attention_memory(tiny_detector("detr"), 160, 200, 1)
    again = attention_memory(tiny_detector("detr", decoder__activation_checkpointing=True), 160, 200, 1)
    assert (again.encoder, again.decoder) == (kept.encoder, kept.decoder / 2)


@pytest.mark.parametrize(("parts", "kept"), [(["backbone", "neck", "encoder"], False), (["neck", "encoder"], True)])
def test_an_encoder_up_to_which_nothing_is_trained_keeps_no_maps(parts, kept):
    detector = tiny_detector("detr")
    whole = attention_memory(detector, 160, 200, 1)
    freeze_parts(detector, parts)
    found = attention_memory(detector, 160, 200, 1)
    assert (found.encoder, found.decoder) == (whole.encoder * kept, whole.decoder)


@pytest.mark.parametrize(
    ("name", "expected"), [("detr", True), ("dab_detr", True), ("dn_deformable_encoder", True), ("dino", False)]
)
def test_models_with_dense_attention_are_recognised(name, expected):
    assert is_dense(tiny_detector(name)) == expected


def test_other_models_have_no_dense_attention():
    assert not is_dense(torch.nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 10, 1), "positive size, found height 0 and width 10"),
        ((10, -1, 1), "positive size, found height 10 and width -1"),
        ((10, 10, 0), "batch_size must be positive, found 0"),
    ],
)
def test_sizes_must_be_positive(sizes, message):
    with pytest.raises(ValueError, match=message):
        attention_memory(tiny_detector("detr"), *sizes)


def test_the_estimate_in_words_has_its_numbers():
    found = attention_memory(tiny_detector("detr"), 800, 1333, 2)
    text = describe_memory(found, 800, 1333, 2)
    assert "800x1333 pixels have 1050 tokens" in text
    assert f"take {found.total / 2**20:,.0f} MiB" in text
