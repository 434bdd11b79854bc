"""The documentation's index lists every page, and links of all pages lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "projects").glob("*/README.md"),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "MODEL_ZOO.md", "ops/README.md")),
]


def test_the_index_lists_every_page() -> None:
    listed = set(re.findall(r"^\| \[(\S+\.md)\]", (ROOT / "docs" / "README.md").read_text(), re.MULTILINE))
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", page.read_text()):
        path, _, heading = link.partition("#")
        target = page if not path else (page.parent / path).resolve()
        assert target.exists(), link
        if heading and target.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in anchors, link


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sources_that_a_page_names_are_there(page: Path) -> None:
    for path in re.findall(r"`((?:querydet|tests|tools|benchmarks|configs)/[\w/]+\.py)`", page.read_text()):
        assert (ROOT / path).is_file() or (page.parent / path).is_file(), path
