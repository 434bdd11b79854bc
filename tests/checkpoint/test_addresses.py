"""Addresses of published models, for whoever knows where they are."""

import pytest
from detectron2.utils.file_io import PathManager

from querydet import model_zoo
from querydet.checkpoint import Checkpointer, addresses
from tests.checkpoint.small_detector import Detector


@pytest.fixture
def register():
    """Registers a function from names to files; afterwards the model zoo counts again."""
    yield addresses.register_published_models
    addresses.register_published_models(addresses._from_zoo)


def test_weights_are_loaded_from_where_the_registered_function_finds_them(register, tmp_path):
    source, model, names = Detector(), Detector(), []
    Checkpointer(source, str(tmp_path)).save("published")

    def resolve(name):
        names.append(name)
        return str(tmp_path / "published.pth")

    register(resolve)
    Checkpointer(model).load("querydet://some_model")
    assert names == ["some_model"]
    assert (model.box_head.weight == source.box_head.weight).all()
    with PathManager.open("querydet://some_model", "rb") as file:
        assert file.read(2) == b"PK"


def test_the_last_registration_counts(register):
    register(lambda name: "first")
    register(lambda name: "second")
    assert PathManager.get_local_path("querydet://x") == "second"


def test_the_model_zoo_is_asked_where_nothing_else_is_registered(register, monkeypatch):
    register(addresses._from_zoo)
    monkeypatch.setattr(model_zoo, "get_checkpoint_file", lambda name: f"file of {name}")
    assert PathManager.get_local_path("querydet://x") == "file of x"
