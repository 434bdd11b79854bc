"""The zoo of published models: its data, and the way from a name to a model with its weights."""

import pytest
import torch
from detectron2.utils.file_io import PathManager

from querydet import model_zoo
from querydet.checkpoint.conversion.pipeline import convert_content
from querydet.config import find_config
from querydet.model_zoo import zoo
from tests.checkpoint.published import load_layout, make_state
from tests.model_zoo.server import serve


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(zoo.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def add(monkeypatch):
    """Adds an entry to the zoo."""

    def add(**fields):
        entry = zoo.Entry(**{"layout": "official", "publisher": "someone/somewhere", **fields})
        monkeypatch.setattr(zoo, "entries", lambda: {entry.name: entry})
        return entry

    return add


def test_entries_are_sound():
    assert len(model_zoo.names()) == len(set(model_zoo.names())) > 20
    for name in model_zoo.names():
        entry = model_zoo.get_entry(name)
        find_config(entry.config)
        assert entry.layout in ("official", "detrex", "huggingface")
        assert model_zoo.get_checkpoint_url(name).startswith("https://")
        assert entry.name.startswith(entry.recipe.replace("dino_detrex_", "dino_"))
        assert entry.sha256 is None or len(entry.sha256) == 64


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("dino_r50_4scale_12ep", "dino_r50_4scale"),
        ("dino_r50_4scale_12ep_detrex", "detrex_dino_r50_4scale"),
        ("deta_r50_12ep_detrex", "detrex_deta_r50"),
        ("ms_detr_pp_r50_900q_12ep", "ms_detr_pp_r50_900"),
        ("ms_detr_r50_placement_a_12ep", "ms_detr_impl_a_r50_300"),
        ("dn_detr_r50_50ep", "dn_dab_deformable_detr_r50"),
        ("deformable_detr_r50_50ep", "deformable_detr_r50"),
    ],
)
def test_config_of_an_entry_is_that_of_its_layout(name, layout):
    entry = model_zoo.get_entry(name)
    content = {"model": make_state(load_layout(layout))}
    convert_content(content, config=model_zoo.get_config(name), coco_classes=entry.select_coco_classes)


def test_unknown_name_gives_the_nearest():
    with pytest.raises(KeyError, match="dino_r50_4scale_12ep"):
        model_zoo.get_config("dino_r50_4scale_12epochs")


def test_path_of_a_recipe_names_the_model():
    assert model_zoo.get_entry("projects/dino/configs/dino_r50_4scale_12ep.py").name == "dino_r50_4scale_12ep"


def test_config_without_weights_starts_from_a_backbone():
    assert "ImageNetPretrained" in model_zoo.get_config("dino_r50_4scale_12ep").train.init_checkpoint


def test_page_only_entry_says_where_to_put_the_file(cache, add):
    add(name="x", config="y.py", page="https://somewhere/page")
    assert model_zoo.get_checkpoint_url("x") == "https://somewhere/page"
    with pytest.raises(
        FileNotFoundError, match=rf"https://somewhere/page\. Get them by hand and put them at {cache}/x.pth"
    ):
        model_zoo.get_checkpoint_file("x")


class TestDownloaded:
    """From the address of a file to a model."""

    @pytest.fixture
    def source(self, tmp_path):
        """Weights of full size with a backbone, which take no space: all values of a tensor are one in the file."""
        state = make_state(load_layout("deformable_detr_r50"))
        torch.save({"model": state}, tmp_path / "source.pth")
        return (tmp_path / "source.pth").read_bytes()

    def test_weights_are_downloaded_converted_and_loaded(self, cache, add, source):
        with serve(source) as (url, told):
            entry = add(
                name="tiny",
                config="projects/deformable_detr/configs/deformable_detr_r50_50ep.py",
                url=url,
                select_coco_classes=True,
            )
            path = model_zoo.get_checkpoint_file("tiny")
            assert model_zoo.get_checkpoint_file("tiny") == path
            assert PathManager.get_local_path("querydet://tiny") == path
            assert len(told.asked) == 1
            cfg = model_zoo.get_config("tiny", trained=True)
            assert cfg.train.init_checkpoint == path
            assert cfg.model.num_classes == 80
            model = model_zoo.get("tiny", trained=True, device="cpu")
        content = torch.load(path, weights_only=True)
        assert (len(content["class_names"]), content["class_names"][0]) == (80, "person")
        state = content["model"]
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert model.training
        assert sorted(item.name for item in cache.iterdir() if item.suffix == ".pth") == [
            "tiny.pth",
            "tiny.querydet1.pth",
        ]
        assert entry.recipe == "deformable_detr_r50_50ep"
        (cache / "tiny.querydet1.pth").write_bytes(b"damage")
        model_zoo.get_checkpoint_file("tiny")  # made anew, without a download
        torch.load(path, weights_only=True)
        assert len(told.asked) == 1

    def test_weights_that_do_not_fit_the_entry_are_refused(self, cache, add, source):
        with serve(source) as (url, _):
            add(name="tiny", config="projects/dino/configs/dino_r50_4scale_12ep.py", url=url)
            with pytest.raises(ValueError, match=r"misread them|do not cover|classes"):
                model_zoo.get_checkpoint_file("tiny")

    @pytest.mark.parametrize(
        ("content", "message"),
        [(b"<html>sign in</html>", "a web page"), (b"PK\x03\x04cut", "is damaged"), (b"", "is empty")],
    )
    def test_what_is_no_checkpoint_is_not_kept(self, cache, add, content, message):
        with serve(content) as (url, _):
            add(name="tiny", config="projects/deformable_detr/configs/deformable_detr_r50_50ep.py", url=url)
            with pytest.raises(ValueError, match=message):
                model_zoo.get_checkpoint_file("tiny")
        assert not [item for item in cache.iterdir() if item.suffix != ".lock"]
