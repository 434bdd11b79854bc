"""Models that Hugging Face's own code builds, saves and runs, converted from the folder that it writes."""

import pytest
import torch
from detectron2.config import instantiate

from querydet.checkpoint.conversion.pipeline import convert_content
from querydet.checkpoint.reading import read_checkpoint
from tests.parity.fixture import let_padding_in

transformers = pytest.importorskip("transformers", reason="compares with the models of the package transformers")

SIZES = dict(  # noqa: C408 - the arguments of both configs
    num_labels=7,
    num_queries=30,
    d_model=64,
    encoder_layers=2,
    decoder_layers=3,
    encoder_ffn_dim=64,
    decoder_ffn_dim=64,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
)
MAPS = ["stage2", "stage3", "stage4"]


def deformable_detr(**options):
    backbone = transformers.ResNetConfig(out_features=MAPS)
    config = transformers.DeformableDetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        **SIZES,
        **options,
    )
    return transformers.DeformableDetrForObjectDetection(config)


def deta(backbone):
    """DETA, which newer versions of the package do not have any more."""
    module = pytest.importorskip("transformers.models.deprecated.deta", reason="this version has no DETA")
    from transformers.models.deprecated.deta.modeling_deta import DetaForObjectDetection

    options = {"two_stage": True, "with_box_refine": True, "assign_first_stage": True, "two_stage_num_proposals": 25}
    return DetaForObjectDetection(module.DetaConfig(backbone_config=backbone, num_feature_levels=5, **SIZES, **options))


MODELS = {
    "plain": lambda: deformable_detr(),
    "refine": lambda: deformable_detr(with_box_refine=True),
    "two_stage": lambda: deformable_detr(with_box_refine=True, two_stage=True, two_stage_num_proposals=25),
    "deta": lambda: deta(transformers.ResNetConfig(out_features=MAPS)),
    "deta_swin": lambda: deta(
        transformers.SwinConfig(
            embed_dim=24, depths=[2, 2, 2, 2], num_heads=[3, 6, 12, 24], window_size=4, out_features=MAPS
        )
    ),
}


@torch.no_grad()
def randomise(model):
    """No weight stays at its initial value, and activations stay of the order of one."""
    generator = torch.Generator().manual_seed(0)
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        noise = torch.randn(value.shape, generator=generator)
        if not value.is_floating_point() or ("backbone" in name and value.dim() > 1):
            continue
        if "running_var" in name:
            value.copy_(noise.abs() + 0.5)
        elif "backbone" in name and name.endswith("weight"):
            value.copy_(0.3 + 0.05 * noise)
        elif value.dim() > 1 and "embed" not in name:
            value.copy_(noise / value.shape[-1] ** 0.5)
        else:
            value.add_(0.1 * noise)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_converted_model_computes_what_theirs_does(tmp_path, name):
    theirs = MODELS[name]().eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path, safe_serialization=name in ("plain", "deta"))
    (path,) = [path for path in tmp_path.iterdir() if path.name in ("model.safetensors", "pytorch_model.bin")]
    converted = convert_content(read_checkpoint(str(path)), str(path))
    model = converted.fit.cfg.model
    let_padding_in(model)
    ours = instantiate(model).eval()
    ours.load_state_dict(converted.state)
    image = torch.rand(1, 3, 256, 320, generator=torch.Generator().manual_seed(1)) * 4 - 2
    expected = theirs(pixel_values=image, pixel_mask=torch.ones(1, 256, 320, dtype=torch.int64))
    (found,) = ours.predict(ours.backbone(image), torch.zeros(1, 256, 320, dtype=torch.bool))
    assert (found.logits - expected.logits).abs().max() < 1e-4
    assert (found.boxes - expected.pred_boxes).abs().max() < 1e-4
