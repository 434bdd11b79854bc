from querydet.utils.provenance import provenance


def test_a_result_says_how_it_was_made() -> None:
    found = provenance(["tools/record_run.py", "my run", "--output", "x.json"])
    assert found["command"] == "python tools/record_run.py 'my run' --output x.json"
    assert {"commit", "date", "machine", "load_average", "versions"} <= set(found)
    assert str(found["versions"]).count("torch") == 1
