"""The command."""

import json

import pytest


def test_a_report_is_written(cli, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.json").write_text(json.dumps({"iteration": 1, "total_loss": 2.0, "bbox/AP": 3.0}))
    path = tmp_path / "new" / "report.html"
    assert cli("report").main([f"mine={run}", "--output", str(path), "--title", "One run", "--no-errors"]) == 0
    assert "wrote" in capsys.readouterr().out
    assert "<h1>One run</h1>" in path.read_text(encoding="utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_bad_input(cli, tmp_path, capsys):
    main = cli("report").main
    with pytest.raises(FileNotFoundError, match=r"no metrics at .*give the output folder of a training run"):
        main([str(tmp_path), "--output", str(tmp_path / "report.html")])
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "--output" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_help(cli, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli("report").main(["--help"])
    assert "Runs whose configs are equal but for the seed" in capsys.readouterr().out
