import pytest

from querydet.utils.precisions import PRECISIONS, check_precision


def test_known_names_are_returned_and_others_refused():
    assert [check_precision(name) for name in PRECISIONS] == list(PRECISIONS)
    with pytest.raises(ValueError, match="float32, bfloat16, auto, found 'half'"):
        check_precision("half")
