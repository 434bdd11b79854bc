"""The shipped configs and their folder."""

from pathlib import Path

import pytest

from querydet.config import locations


def test_the_folder_holds_what_is_listed() -> None:
    names = locations.shipped_configs()
    assert {"configs/common/train.py", "configs/quick/dino_synthetic.py"} <= set(names)
    assert all((locations.config_root() / name).is_file() for name in names)
    assert names == sorted(names)


def test_the_copies_in_a_package_are_found_where_no_checkout_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "querydet"
    package.mkdir(parents=True)
    monkeypatch.setattr(locations.importlib.resources, "files", lambda name: package)
    with pytest.raises(FileNotFoundError, match="reinstall querydet"):
        locations.config_root()
    (package / "_configs" / "configs" / "common").mkdir(parents=True)
    assert locations.config_root() == package / "_configs"
    (package.parent / "configs" / "common").mkdir(parents=True)
    assert locations.config_root() == package.parent
