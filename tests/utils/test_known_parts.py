"""The list of what configs may name is complete and true; that it has what the shipped configs name is tested there."""

from detectron2.utils.registry import locate

from querydet import modeling
from querydet.utils.known_parts import MODEL, parts_at


def test_every_name_is_of_its_module():
    for name, module in parts_at("").items():
        assert locate(name).__module__ == module


def test_every_exported_part_of_a_detector_is_known():
    """Classes that a config may name; those that are made by others, or only inherited from, are not among them."""
    inner = {"DecoderLayer", "EncoderLayer", "HostAssigner", "Dropout", "MultiHeadAttention"}
    inner |= {"LevelwiseDecoderLayer", "MultiScaleDeformableAttention"}
    known = {name.rpartition(".")[2] for names in MODEL.values() for name in names.split()}
    for package in (
        modeling.assigners,
        modeling.decoder,
        modeling.encoder,
        modeling.layers,
        modeling.meta_arch,
        modeling.queries,
        modeling.selection,
    ):
        classes = {name for name in package.__all__ if isinstance(getattr(package, name), type)}
        assert classes <= known | inner


def test_a_place_has_its_own_parts():
    writer, model = "querydet.data.synthetic.load_synthetic", "querydet.modeling.detector.QueryDetector"
    assert writer in parts_at("dataloader.train.dataset._target_")
    assert writer in parts_at("dataloader.evaluator.coco.dataset._target_")
    for place in ("model._target_", "dataloader.test.mapper.augmentations._target_", "dataloader.train._target_"):
        assert writer not in parts_at(place)
    assert model in parts_at("model.x.0._target_")
    assert model not in parts_at("dataloader.test.dataset._target_")
    assert {writer, model} <= set(parts_at("other"))
