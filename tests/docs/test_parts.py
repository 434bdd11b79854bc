"""What docs/parts.md says: its selection and its assigner build, train, save, load and detect; its tables are true."""

import re
from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate

from querydet.checkpoint import Checkpointer
from querydet.config import load_config, save_config
from querydet.traits import TRAITS
from querydet.utils.targets import VARIABLE
from tests.models import assert_a_step_lowers_the_loss, make_inputs, make_small

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "parts.md").read_text()


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's files in a folder on the path."""
    for name, text in re.findall(r"```python\n# (\S+\.py)\n(.*?)```", TEXT, re.DOTALL):
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_worked_example_builds_trains_saves_loads_and_detects(written: Path) -> None:
    cfg = load_config(str(written / "dino_salient.py"), ["model.selection.num_queries=20"])
    torch.manual_seed(0)
    detector = instantiate(make_small(cfg.model)).train()
    assert type(detector.selection).__module__ == "salient"
    assert_a_step_lowers_the_loss(detector)
    assert detector.selection.box.weight.grad.any()
    Checkpointer(detector, str(written)).save("model")
    again = instantiate(cfg.model)
    Checkpointer(again, str(written)).load(str(written / "model.pth"))
    with torch.no_grad():
        (one,), (other,) = (model.eval()(make_inputs([(96, 128)])) for model in (detector, again))
    assert torch.equal(one["instances"].scores, other["instances"].scores)


def test_its_saved_config_loads_where_the_modules_are_allowed(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = load_config(str(written / "dino_salient.py"))
    save_config(cfg, str(written / "config.yaml"))
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ValueError, match="QUERYDET_ALLOW_TARGETS"):
        load_config(str(written / "config.yaml"))
    monkeypatch.setenv(VARIABLE, "salient,nearest")
    assert load_config(str(written / "config.yaml")).model.selection.num_queries == 300


def test_its_table_names_traits_that_exist() -> None:
    table = TEXT.split("| trait | of |")[1].split("\n\n")[0]
    named = {name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named
    assert named <= set(TRAITS)


def test_the_places_that_it_names_are_there() -> None:
    for path in re.findall(r"`(querydet/[\w/]+(?:\.py)?)/?`", TEXT) + re.findall(r"\(\.\./(querydet/\S+?)\)", TEXT):
        assert (ROOT / path).exists(), path
