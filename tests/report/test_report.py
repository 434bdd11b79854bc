"""One file that holds everything: its structure, its numbers, its pictures, and what is there in a real browser."""

import base64
import io
import json
from html.parser import HTMLParser

import pytest
from detectron2.config import instantiate
from PIL import Image

from querydet.config import load_config, save_config
from querydet.evaluation.coco_backend import CocoBackend
from querydet.evaluation.error_analysis import Settings
from querydet.report import Options, make_report
from querydet.visualization.runs import read_groups
from tests.browser import open_browser
from tests.engine.conftest import CONFIG

VOID = {"meta", "img"}
TEXT = "<script>alert('&')</script>"  # in a command, which may hold anything


class Page(HTMLParser):
    """Reads a page and insists that every tag is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.pictures, self.rows, self.ids, self.links = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.pictures.append(values["src"])
            assert values["alt"]
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if "href" in values else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data

    def row(self, label):
        (found,) = [row[1:] for row in self.rows if row and row[0] == label]
        return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory, toy_data):
    """Three runs: two that repeat each other, one of them with results and pictures, and one of another config."""
    root = tmp_path_factory.mktemp("runs")
    for number, (name, steps) in enumerate((("dino_1", 20), ("dino_2", 20), ("other", 40))):
        folder = root / name
        (folder / "inference").mkdir(parents=True)
        cfg = load_config(CONFIG, [f"train.output_dir={folder}", f"train.seed={number}", f"train.max_iter={steps}"])
        save_config(cfg, str(folder / "config.yaml"))
        lines = [
            {"iteration": 9, "total_loss": 5.0, "loss_l1": 2.0, "time": 0.5, "bbox/AP": 10.0 + number, "lr": 0.1},
            {"iteration": 19, "total_loss": 4.0, "loss_l1": 1.0, "time": 0.7, "bbox/AP": 20.0 + 2 * number, "lr": 0.1},
        ]
        lines[-1] |= {"bbox/AP-circle": 30.0, "atd/ATD": 0.25}
        (folder / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
    dataset = instantiate(cfg.dataloader.test.dataset)
    ids = list(range(100))
    truth = [
        {"image_id": each["image_id"], "category_id": ids[item["category_id"]] + 1, "bbox": item["bbox"], "score": 0.9}
        for each in dataset
        for item in each["annotations"]
    ]
    (root / "dino_1" / "inference" / "coco_instances_results.json").write_text(json.dumps(truth))
    part = {"start_iteration": 0, "command": TEXT, "minutes": 3.0, "machine": "abacus", "commit": "abcdef0123456789"}
    (root / "dino_1" / "run.json").write_text(json.dumps([part, {**part, "start_iteration": 10, "minutes": 4.0}]))
    (root / "dino_1" / "pictures").mkdir()
    for step, color in ((10, "red"), (20, "blue")):
        Image.new("RGB", (2000, 500), color).save(root / "dino_1" / "pictures" / f"predictions_{step:07d}.png")
    (root / "dino_1" / "broken.png").write_text("no picture")
    return [str(root / name) for name in ("dino_1", "dino_2", "other")]


@pytest.fixture(scope="module")
def text(runs):
    """The report of all three."""
    return make_report(read_groups(runs), Options("Three <runs>", settings=Settings(worst=1)))


@pytest.fixture(scope="module")
def page(text):
    """The same, read."""
    return Page(text)


def test_it_is_well_formed_and_refers_to_nothing_else(page, text):
    assert [tag for tag, _ in page.tags[:2]] == ["html", "head"]
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "video", "base"})
    assert page.links
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert all("src" not in values or tag == "img" for tag, values in page.tags)
    assert all(source.startswith("data:image/") for source in page.pictures)
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert len(page.ids) == len(set(page.ids))
    assert "Three &lt;runs&gt;" in text
    assert "&lt;script&gt;alert(" in text  # the command


def test_every_picture_decodes(page):
    sizes = []
    for source in page.pictures:
        kind, _, content = source.partition(";base64,")
        image = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
        image.load()
        assert f"data:image/{image.format.lower()}" == kind
        assert len(set(image.convert("L").resize((32, 32)).tobytes())) > 3 or image.size == (1600, 400)
        sizes.append(image.size)
    assert sizes.count((1600, 400)) == 1  # of the training's pictures only the last one, at most 1600 wide
    assert len(sizes) == 2 + 4 + 1  # curves; costs, precision, confusions, worst image; that one


def test_groups_stand_beside_each_other(page):
    assert page.row("AP") == ["21.0 ± 1.4", "24.0"]
    assert page.row("best AP") == ["21.0 ± 1.4", "24.0"]
    assert page.row("at iteration") == ["20", "20"]
    assert page.row("circle") == ["30.0", "30.0"]
    assert page.row("atd/ATD") == ["0.250", "0.250"]
    assert page.row("seconds of an iteration") == ["0.600", "0.600"]
    assert page.row("minutes, start to end") == ["7.0", "-"]
    assert page.row("train.max_iter") == ["20", "40"]
    assert ["", "dino (2 runs)", "other"] in page.rows
    starts = [row for row in page.rows if row[0] == "dino_1" and "abacus" in row]
    assert [row[1] for row in starts] == ["0", "10"]
    assert "abcdef0123" in starts[0]


def test_errors_of_the_runs_that_have_results(page, text):
    assert page.row("AP at IoU 0.5") == ["100.0"]
    assert page.row("number: missed") == ["0"]
    assert page.row("COCO's measures by") == [str(CocoBackend())]
    assert "no coco_instances_results.json: write one with" in text
    assert "The same for other." in text
    assert "broken.png cannot be read" in text


def test_results_that_do_not_fit_are_said(runs, tmp_path, page):
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"iteration": 1, "total_loss": 1.0}))
    (folder / "coco_instances_results.json").write_text("[]")
    text = make_report(read_groups([str(folder)]))
    assert "could not be analysed" in text
    assert "config.yaml" in text
    assert "could not be analysed" not in make_report(read_groups([str(folder)]), Options(errors=False))
    Page(text)


def test_many_runs_stand_below_each_other(tmp_path):
    for number in range(7):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps({"iteration": 4, "bbox/AP": 10.0 * number}))
    page = Page(make_report(read_groups([str(each) for each in sorted(tmp_path.iterdir())]), Options(errors=False)))
    assert ["", "iterations", "AP", "best AP", "at iteration"] in page.rows
    assert ["run3", "5", "30.0", "30.0", "5"] in page.rows


def test_it_opens_in_a_browser(text, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(text, encoding="utf-8")
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800}, offline=True)
        requests, complaints = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        assert page.title() == "Three <runs>"
        widths = page.evaluate("[...document.images].map(each => each.naturalWidth * each.complete)")
        assert len(widths) == 7
        assert min(widths) > 300
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280  # nothing runs off the page
        page.click("nav a[href='#config']")
        assert page.locator("#config h2").is_visible()
        assert page.evaluate("window.scrollY") > 500
        page.click("#config summary >> nth=0")
        assert "max_iter: 20" in page.inner_text("#config pre >> nth=0")
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        assert complaints == []
