"""What tests of several folders use."""

import pytest

from querydet.config import files
from tests.kept_configs import KeptConfigs


@pytest.fixture(scope="session", autouse=True)
def toy_data(tmp_path_factory):
    """``tests/engine/toy_config.py`` reads this variable; saved as yaml it names parts of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUERYDET_ALLOW_TARGETS", "tests")
        patch.setenv("QUERYDET_TOY_DATA", str(tmp_path_factory.mktemp("toy")))
        yield


@pytest.fixture(scope="session", autouse=True)
def kept_configs():
    with pytest.MonkeyPatch.context() as patch:
        kept = KeptConfigs(files.read_config)
        patch.setattr(files, "read_config", kept)
        yield kept
