"""From a config and a checkpoint to detections, on whatever is called an image."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

import querydet
from querydet import model_zoo
from querydet.checkpoint import Checkpointer
from querydet.checkpoint.training_only import INFERENCE_ONLY, inference_state
from querydet.config import load_config
from querydet.utils.instance_masks import has_masks, masks_of
from querydet.visualization import draw_instances
from tests.engine.conftest import DINO_CONFIG
from tests.masked import WithMasks, ellipses
from tests.models import tiny_detector

NAMES = ["one", "two", "three", "four", "five", "six"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of the tiny DINO with names of its own."""
    folder = tmp_path_factory.mktemp("weights")
    Checkpointer(tiny_detector("dino", num_classes=6), str(folder), class_names=NAMES).save("model")
    return str(folder / "model.pth")


@pytest.fixture(scope="module")
def predictor(weights: str) -> querydet.Predictor:
    return querydet.Predictor(DINO_CONFIG, weights, threshold=0.0, device="cpu")


def picture(seed: int, height: int = 90, width: int = 120) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def same(found: querydet.Predictor, other: querydet.Predictor) -> bool:
    return all(
        torch.equal(getattr(found, name).tensor if name == "pred_boxes" else getattr(found, name),
                    getattr(other, name).tensor if name == "pred_boxes" else getattr(other, name))
        for name in ("pred_boxes", "scores", "pred_classes")
    )  # fmt: skip


def test_an_array_a_pil_image_and_a_path_are_the_same_image(predictor: querydet.Predictor, tmp_path: Path) -> None:
    array = picture(0)
    Image.fromarray(array).save(tmp_path / "a.png")
    found = predictor(array)
    assert len(found) > 0
    assert found.image_size == (90, 120)
    for other in (Image.fromarray(array), tmp_path / "a.png", str(tmp_path / "a.png"), array[:, ::-1][:, ::-1]):
        assert same(predictor(other), found)


def test_several_images_of_any_sizes_are_those_one_by_one(predictor: querydet.Predictor, weights: str) -> None:
    images = [picture(0), Image.fromarray(picture(1, 64, 100)), picture(2, 128, 80)]
    together = predictor(images)
    assert [found.image_size for found in together] == [(90, 120), (64, 100), (128, 80)]
    assert all(same(found, predictor(image)) for found, image in zip(together, images, strict=True))
    assert same(predictor(np.stack([picture(0), picture(1)]))[1], predictor(picture(1)))
    assert predictor([]) == []
    assert same(next(iter(predictor(iter(images)))), together[0])
    # sides of whole tokens: elsewhere the backbone's last row is made of other pixels in a batch
    whole = [picture(0, 128, 128), picture(1, 64, 128), picture(2, 128, 64)]
    batched = querydet.Predictor(DINO_CONFIG, weights, threshold=0.0, batch_size=2, device="cpu")
    for found, other in zip(batched(whole), predictor(whole), strict=True):
        assert torch.allclose(found.scores, other.scores, atol=1e-4)


def test_a_stream_is_one_by_one_and_names_what_it_cannot_use(predictor: querydet.Predictor, tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(6)]
    for index, path in enumerate(paths):
        Image.fromarray(picture(index, 60 + 20 * (index % 2), 100)).save(path)
    (tmp_path / "text.png").write_text("no picture")
    images = [*paths[:3], tmp_path / "text.png", picture(9), *paths[3:]]
    found = list(predictor.stream(iter(images)))
    assert [prediction.source is image for prediction, image in zip(found, images, strict=True)] == [True] * 8
    assert "text.png cannot be read as an image" in str(found.pop(3).error)
    del images[3]
    for prediction, image in zip(found, images, strict=True):
        assert same(prediction.detections(), predictor(image))
        assert np.array_equal(prediction.pixels, predictor.read(image))
    for one in (paths[0], picture(0), 7):
        with pytest.raises(TypeError, match="or several of them"):
            predictor.stream(one)


def test_grey_and_turned_pictures(predictor: querydet.Predictor) -> None:
    grey = picture(3)[..., 0]
    assert same(predictor(grey), predictor(np.stack([grey] * 3, axis=-1)))
    turned = Image.fromarray(picture(4))
    turned.getexif()[0x0112] = 6  # the camera was held upright
    assert predictor(turned).image_size == (120, 90)


def test_names_threshold_and_picture(predictor: querydet.Predictor, weights: str) -> None:
    assert predictor.class_names == NAMES
    assert predictor.category_ids == [1, 2, 3, 4, 5, 6]
    scores = predictor(picture(0)).scores
    middle = float(scores[len(scores) // 2])
    strict = querydet.Predictor(DINO_CONFIG, weights, threshold=middle, class_names=list("uvwxyz"), device="cpu")
    assert strict(picture(0)).scores.tolist() == [score for score in scores.tolist() if score >= middle]
    assert strict.class_names == list("uvwxyz")
    assert strict.draw(picture(0), strict(picture(0))).size >= (120, 90)


@pytest.mark.parametrize("as_rle", [False, True])
def test_masks_come_with_their_detections_and_are_drawn(weights: str, as_rle: bool) -> None:
    predictor = querydet.Predictor(DINO_CONFIG, weights, threshold=0.0, device="cpu")
    without = predictor(picture(0))
    assert not has_masks(without)
    middle = float(without.scores[len(without) // 2]) - 1e-4
    predictor.model = WithMasks(predictor.model, as_rle)
    predictor.threshold = middle
    found, other = predictor([picture(0), picture(1, 64, 100)])
    expected = [score for score in without.scores.tolist() if score >= middle]
    assert found.scores.tolist() == pytest.approx(expected, abs=1e-5)  # the model within has no fused form
    assert torch.equal(masks_of(found), ellipses(found.pred_boxes.tensor, (90, 120)))
    assert masks_of(other).shape == (len(other), 64, 100)
    drawn = np.asarray(predictor.draw(picture(0), found))
    boxes = draw_instances(picture(0), without[: len(found)], NAMES)
    assert drawn.shape == boxes.shape
    assert (drawn != boxes).any(axis=2).mean() > 0.01


def test_a_checkpoint_without_training_parts_gives_the_same(
    predictor: querydet.Predictor, weights: str, tmp_path: Path
) -> None:
    state = inference_state(predictor.model)
    torch.save({"model": state, INFERENCE_ONLY: True, "class_names": NAMES}, tmp_path / "small.pth")
    config: DictConfig = load_config(DINO_CONFIG)
    small = querydet.Predictor(config, tmp_path / "small.pth", threshold=0.0, overrides=["train.device=cpu"])
    assert same(small(picture(0)), predictor(picture(0)))
    del state["decoder.norm.weight"]
    torch.save({"model": state, INFERENCE_ONLY: True}, tmp_path / "broken.pth")
    with pytest.raises(ValueError, match=r"decoder\.norm\.weight"):
        querydet.Predictor(config, tmp_path / "broken.pth")


def test_bad_input(predictor: querydet.Predictor, weights: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no image .*nowhere\.jpg"):
        predictor("nowhere.jpg")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.jpg cannot be read as an image"):
        predictor(tmp_path / "text.jpg")
    with pytest.raises(ValueError, match="uint8, 0 to 255, got float64"):
        predictor(picture(0) / 255)
    with pytest.raises(ValueError, match=r"\(H, W, 3\), RGB, or \(H, W\), grey; got \(3, 90, 120\)"):
        predictor(picture(0).transpose(2, 0, 1))
    with pytest.raises(TypeError, match="got int"):
        predictor([7])
    with pytest.raises(FileNotFoundError, match=r"no\.pth"):
        querydet.Predictor(DINO_CONFIG, "no.pth")
    with pytest.raises(ValueError, match="which weights: give a checkpoint"):
        querydet.Predictor(load_config(DINO_CONFIG))
    with pytest.raises(ValueError, match="CUDA graphs need a detector on a CUDA device, and this one is on cpu"):
        querydet.Predictor(DINO_CONFIG, weights, device="cpu", cuda_graphs=True)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        querydet.Predictor(DINO_CONFIG, weights, batch_size=0)
    with pytest.raises(ValueError, match="2 class names were given, the model has 6 classes"):
        querydet.Predictor(DINO_CONFIG, weights, class_names=["a", "b"], device="cpu")


def test_a_name_of_the_model_zoo_brings_its_weights(
    predictor: querydet.Predictor, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get_config(name: str, trained: bool) -> DictConfig:
        assert name == "a_model"
        return load_config(DINO_CONFIG, [f"train.init_checkpoint={weights}"] if trained else [])

    with pytest.raises(KeyError, match="no published model 'a_model'; the nearest are"):
        querydet.Predictor("a_model")
    monkeypatch.setattr(model_zoo, "get_config", get_config)
    assert same(querydet.Predictor("a_model", threshold=0.0, device="cpu")(picture(0)), predictor(picture(0)))
    assert querydet.Predictor("a_model", weights, device="cpu").class_names == NAMES


def test_files_and_bytes_are_one_image(predictor: querydet.Predictor, tmp_path: Path) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    expected, content = predictor(picture(0)), (tmp_path / "a.png").read_bytes()
    assert same(predictor(content), expected)
    assert same(predictor(io.BytesIO(content)), expected)
    with open(tmp_path / "a.png", "rb") as file:
        assert same(predictor(file), expected)
    assert [same(found, expected) for found in predictor([content, tmp_path / "a.png"])] == [True, True]
    with pytest.raises(TypeError, match="or several of them; got <class 'dict'>"):
        predictor({"a": picture(0)})  # whose keys are no images


def test_what_is_set_is_used(weights: str) -> None:
    predictor = querydet.Predictor(DINO_CONFIG, weights, threshold=0.0, device="cpu")
    other = tiny_detector("dino", num_classes=6).train()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    before = predictor(picture(0))
    predictor.model = other
    assert predictor.model is other
    assert not other.training
    assert not same(predictor(picture(0)), before)
    predictor.threshold = 1.0
    assert len(predictor(picture(0))) == 0
    predictor.batch_size = 2
    assert len(predictor([picture(0)] * 3)) == 3
    with pytest.raises(ValueError, match="the model has 5 classes, the predictor has 6 names"):
        predictor.model = tiny_detector("dino", num_classes=5)
    with pytest.raises(TypeError, match="must be a torch module, got str"):
        predictor.model = "model.pth"
    with pytest.raises(ValueError, match=r"the threshold must be in \[0, 1\], got 2"):
        predictor.threshold = 2
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        predictor.batch_size = 0


def test_images_are_read_as_the_test_mapper_does(weights: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(0)).save(tmp_path / "a.png", exif=exif)
    sizes = {}
    for rule in ("apply", "ignore", "match"):
        overrides = [f"dataloader.test.mapper.exif={rule}"]
        found = querydet.Predictor(DINO_CONFIG, weights, device="cpu", overrides=overrides)
        sizes[rule] = found(tmp_path / "a.png").image_size
        assert found(Image.open(tmp_path / "a.png")).image_size == sizes[rule]
        record = {"file_name": str(tmp_path / "a.png"), "height": 90, "width": 120}  # annotated as stored
        assert found.read_record(record).shape[:2] == ((120, 90) if rule == "apply" else (90, 120))
    assert sizes == {"apply": (120, 90), "ignore": (90, 120), "match": (120, 90)}  # a photograph has no annotated size


def test_deep_images_are_read_or_refused_by_name(predictor: querydet.Predictor, tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 90 * 120).reshape(90, 120)
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / "deep.png")
    assert len(np.unique(predictor.read(tmp_path / "deep.png"))) == 256
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "integers.tif")
    with pytest.raises(ValueError, match=r"integers\.tif cannot be read as an image: mode I.*pixel_range"):
        predictor(tmp_path / "integers.tif")


def test_a_config_without_test_data(weights: str) -> None:
    found = querydet.Predictor(DINO_CONFIG, weights, device="cpu", overrides=["dataloader.test.dataset=null"])
    assert found(picture(0)).image_size == (90, 120)
    assert found.category_ids == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match=r"no test data, as dataloader\.test\.dataset is null"):
        found.load_test_data()
    with pytest.raises(ValueError, match=r"no dataloader\.test\.mapper, which says how images are resized"):
        querydet.Predictor(DINO_CONFIG, weights, device="cpu", overrides=["dataloader.test=null"])


def test_a_predictor_writes_nothing(tmp_path: Path) -> None:
    """A config in YAML may come from anybody, and its test data may be such that are generated where it says."""
    torch.save({"model": tiny_detector("dino", num_classes=6).state_dict()}, tmp_path / "nameless.pth")
    overrides = [f"dataloader.{split}.dataset.root={tmp_path / 'data'}" for split in ("train", "test")]
    found = querydet.Predictor(DINO_CONFIG, tmp_path / "nameless.pth", device="cpu", overrides=overrides)
    assert found.class_names == [f"class {index}" for index in range(6)]
    assert found.category_ids == [1, 2, 3, 4, 5, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["nameless.pth"]
