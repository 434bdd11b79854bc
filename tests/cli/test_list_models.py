"""``querydet zoo``."""

import pytest

from querydet import model_zoo
from querydet.cli import list_models


def test_all_models_are_listed(capsys):
    assert list_models.main([]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == model_zoo.names()


def test_one_model_is_described(capsys):
    assert list_models.main(["deta_r50_12ep"]) == 0
    printed = capsys.readouterr().out
    assert model_zoo.get_entry("deta_r50_12ep").config in printed
    assert model_zoo.get_checkpoint_url("deta_r50_12ep") in printed


def test_weights_are_downloaded_on_demand(capsys, monkeypatch):
    monkeypatch.setattr("querydet.model_zoo.get_checkpoint_file", lambda name: f"/cache/{name}.pth")
    assert list_models.main(["deta_r50_12ep", "--download"]) == 0
    assert capsys.readouterr().out.endswith("file: /cache/deta_r50_12ep.pth\n")

    def fail(name):
        raise ConnectionError("no network")

    monkeypatch.setattr("querydet.model_zoo.get_checkpoint_file", fail)
    assert list_models.main(["deta_r50_12ep", "--download"]) == 1
    assert capsys.readouterr().err == "querydet zoo: no network\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["dino_r50"], "no published model 'dino_r50'; the nearest are dino_r50_4scale_12ep, dino_r50_4scale_24ep"),
        (["align_detr_r50_12ep"], "'align_detr_r50_12ep' is a recipe without published weights"),
        (["deta_r50_13ep"], "no published model 'deta_r50_13ep'; the nearest are deta"),
        (["--download"], "name"),
    ],
)
def test_what_is_missing_is_named(argv, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        list_models.main(argv)
    assert message in capsys.readouterr().err
