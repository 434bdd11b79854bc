"""What is recorded of a detector's queries is what the detector does."""

import pytest
import torch

from querydet.modeling.layers import MultiScaleDeformableAttention
from querydet.ops import multi_scale_deformable_attention
from querydet.visualization.inspection import check_heads, inspect_image, listen_sampling
from tests.models import make_inputs, tiny_detector


def test_sampling_points_give_the_output_of_the_module():
    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention(16, num_heads=2, num_levels=2, num_points=3)
    torch.nn.init.normal_(attention.sampling_offsets.weight)
    torch.nn.init.normal_(attention.attention_weights.weight)
    shapes = [(5, 7), (3, 4)]
    query, tokens = torch.randn(2, 6, 16), torch.randn(2, 47, 16)
    for size in (2, 4):
        reference = torch.rand(2, 6, 2, size)
        with listen_sampling(attention) as found:
            expected = attention(query, reference, tokens, spatial_shapes=shapes)
        (points,) = found
        assert points.weights.sum((-1, -2)).allclose(torch.ones(2, 6, 2))
        value = attention.value_proj(tokens).unflatten(-1, (2, 8))
        sampled = multi_scale_deformable_attention(value, shapes, points.locations, points.weights)
        assert attention.output_proj(sampled).allclose(expected, atol=1e-5)
    assert not attention._forward_pre_hooks


@pytest.mark.parametrize("name", ["dino", "deformable_detr_one_stage", "conditional_detr", "dn_deformable_encoder"])
def test_layers_follow_each_other_and_the_model_stays(name):
    model = tiny_detector(name).train()
    inputs = make_inputs([(64, 96)])
    found = inspect_image(model, inputs[0])
    assert model.training
    assert not model.decoder._forward_hooks
    with torch.no_grad():
        (expected,) = model.eval()(inputs)
    query = found.best_queries(1)[0]
    assert found.label(query)[1] == pytest.approx(float(expected["instances"].scores[0]))
    assert (found.num_layers, found.num_queries) == (2, model.selection.num_queries)
    assert len(found.references) == 2
    if name in ("conditional_detr", "dn_deformable_encoder"):
        moved = not torch.equal(found.references[0], found.references[1])
        assert moved == model.decoder.refine_boxes
        with pytest.raises(ValueError, match="no sampling points"):
            found.sampled(0)
    else:
        assert found.sampled(1).locations.shape == (12, 4, 4, 4, 2)
        # a head that looks at its reference alone would be exactly there: the mean of a ring is close to it
        centre = found.sampled(0).locations.mean((1, 2, 3))
        assert (centre - found.references[0][:, :2]).abs().max() < 0.5


def test_locations_are_parts_of_the_image_whatever_its_padding():
    model = tiny_detector("dino").eval()
    small, large = make_inputs([(64, 64), (128, 128)])
    alone = inspect_image(model, small).sampled(0)
    with listen_sampling(model.decoder.layers[0].cross_attention) as found, torch.no_grad():
        model([small, large])
    (points,) = found
    assert (points.locations[0] / 0.5).allclose(alone.locations, atol=1e-3)


def test_numbers_that_do_not_exist_are_named():
    found = inspect_image(tiny_detector("dino"), make_inputs([(64, 64)])[0])
    with pytest.raises(ValueError, match=r"there is no query 12: they are 0 to 11"):
        found.check_query(12)
    with pytest.raises(ValueError, match=r"there is no decoder layer 0: they are 1 to 2"):
        found.check_layer(0)
    with pytest.raises(ValueError, match=r"there is no head 4: they are 0 to 3"):
        check_heads(found.sampled(0), [0, 4])
    assert (found.check_query(11), found.check_layer(2), check_heads(found.sampled(0), [])) == (11, 1, [0, 1, 2, 3])
    with pytest.raises(TypeError, match="not a Linear"):
        inspect_image(torch.nn.Linear(1, 1), {})
