"""Published numbers: the format of their files, and what is made of them."""

import pytest

from querydet.model_zoo import published
from querydet.model_zoo.published import Publication, Row, Table, describe_precisions, read_publication

TEXT = """
paper: Paper
arxiv: "2001.00001"
reasons:
  masks: has masks
tables:
- table: table 1
  about: R50
  columns: [epochs, AP, AP50]
  rows:
  - {row: first, values: [12, 40.0, ~], recipe: one_12ep}
  - {row: masks, values: [12, 41.0, 60.5], reason: masks}
- table: figure 2
  part: left
  epochs: 24
  columns: [AP]
  rows:
  - {row: point, values: [], recipe: two_24ep}
- source: somebody/somewhere
  columns: [AP]
  rows:
  - {row: first, values: [40.5], recipe: one_12ep, weights: one}
others:
  three_12ep: shows something else
"""


@pytest.fixture
def read(tmp_path):
    def read(text=TEXT):
        path = tmp_path / "project" / "tables.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return read_publication(path)

    return read


@pytest.fixture
def use(monkeypatch):
    """Makes publications those of all functions."""

    def use(*publications, recipes=()):
        monkeypatch.setattr(published, "publications", lambda: publications)
        monkeypatch.setattr(published, "recipes", lambda: dict(recipes))
        monkeypatch.setattr(published, "precisions", published.precisions.__wrapped__)

    return use


def test_a_file_is_read(read):
    found = read()
    assert (found.project, found.paper, found.arxiv) == ("project", "Paper", "2001.00001")
    assert found.others == {"three_12ep": "shows something else"}
    first, figure, repository = found.tables
    assert (first.title, first.about) == ("Paper, table 1", "R50")
    assert first.rows == (
        Row("first", {"AP": 40.0}, 12, "one_12ep", None, None),
        Row("masks", {"AP": 41.0, "AP50": 60.5}, 12, None, "has masks", None),
    )
    assert (figure.title, figure.part) == ("Paper, figure 2", "left")
    assert figure.rows == (Row("point", {}, 24, "two_24ep", None, None),)
    assert (repository.title, repository.rows[0].weights) == ("somebody/somewhere", "one")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (", recipe: two_24ep", "", r"figure 2, row 'point' has to have either a recipe or a reason"),
        (", reason: masks", ", reason: masks, recipe: a", r"table 1, row 'masks' has to have either"),
        ("reason: masks}", "reason: mask}", "row 'masks': unknown reason 'mask'; known are masks"),
        ("[12, 40.0, ~]", "[12, 40.0]", "row 'first': 2 values for the 3 columns epochs, AP, AP50"),
    ],
)
def test_a_row_that_contradicts_the_format_is_named(read, old, new, message):
    assert old in TEXT
    with pytest.raises(ValueError, match=message):
        read(TEXT.replace(old, new))


def table(source, name, *rows):
    return Table(source, name, "", "", tuple(Row("", {"AP": number}, 12, "one_12ep", None, None) for number in rows))


def test_numbers_that_disagree_are_all_shown_the_own_paper_first_and_repositories_last(use):
    other = Publication("a", "Other", "", (table("Other", "table 3", 39.0), table("Other", "table 4", 40.0)), {})
    own = Publication(
        "b", "Own", "", (table("Own", "table 1", 40.0), table("Own", "table 2", 40.0), table("x/y", "", 41.0)), {}
    )
    use(other, own, recipes={"one_12ep": "projects/b/configs/one_12ep.py"})
    assert (
        describe_precisions("one_12ep") == "40.0 (Own, tables 1, 2; Other, table 4), 39.0 (Other, table 3), 41.0 (x/y)"
    )
    assert describe_precisions("two_12ep") == ""


def test_test_dev_is_said(use):
    row = Row("", {"test-dev AP": 50.0, "APS": 30.0}, 12, "one_12ep", None, None)
    use(Publication("a", "A", "", (Table("A", "section 4", "", "", (row,)),), {}))
    assert describe_precisions("one_12ep") == "50.0 on test-dev (A, section 4)"


def test_weights_have_the_number_that_is_published_with_them(read, use):
    use(read())
    assert published.weights_precision("one") == "40.5"
    with pytest.raises(KeyError, match=r"no tables.yaml of a project has a row with the weights 'two'"):
        published.weights_precision("two")


def test_boxes_and_masks_have_numbers_of_their_own(use):
    both = Row("", {"AP": 47.1, "mask AP": 31.5}, 12, "one_12ep", None, "both")
    masks = Row("", {"mask AP": 43.7, "mask APS": 23.4}, 50, "two_50ep", None, "masks")
    use(Publication("a", "A", "", (Table("A", "table 7", "", "", (both, masks)),), {}))
    assert describe_precisions("one_12ep") == "47.1 (A, table 7)"
    assert describe_precisions("one_12ep", published.MASKS) == "31.5 (A, table 7)"
    assert describe_precisions("two_50ep") == ""
    assert describe_precisions("two_50ep", published.MASKS) == "43.7 (A, table 7)"
    assert published.weights_precision("both") == "47.1"
    assert published.weights_precision("masks") == "43.7 of masks"


def test_recipes_are_those_of_projects():
    assert published.recipes()["dino_r50_4scale_12ep"] == "projects/dino/configs/dino_r50_4scale_12ep.py"
    assert published.project_of("dino_r50_4scale_12ep") == "dino"
    assert published.project_of("dino_r50_4scale_13ep") == ""
