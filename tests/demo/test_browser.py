"""The page in a real browser: drop an image, move the threshold, choose another checkpoint."""

import base64
import contextlib
import math
import threading

import pytest

from querydet.demo.server import create_app, make_server
from tests.browser import open_page

DROP = """([content, name]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "image/png" }));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


SIZES = """() => [...document.querySelectorAll("#masks image")].map(
  (mask) => mask.getAttribute("width") * mask.getAttribute("height"))"""


@contextlib.contextmanager
def served(models):
    """The address of the page."""
    pytest.importorskip("flask", reason="needs Flask: pip install 'querydet[demo]'")
    server = make_server(create_app(models, 0.02), 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def shown_page(address):
    """`open_page` at `address` once it is set up: the page asks the server for its models after it has loaded."""
    with open_page() as (page, problems):
        page.goto(address)
        page.locator("#model option").first.wait_for(state="attached")
        yield page, problems


@pytest.fixture
def address(models):
    with served(models) as address:
        yield address


def test_a_person_sees_boxes_classes_and_scores(address, models, picture, tmp_path):
    expected = models.detect(picture.read_bytes(), 0)
    with shown_page(address) as (page, problems):
        assert page.locator("#model option").all_inner_texts() == [choice.name for choice in models.choices]
        page.evaluate(DROP, [base64.b64encode(picture.read_bytes()).decode(), "photo.png"])
        page.get_by_text("photo.png: 120 x 80 pixels").wait_for()

        def shown(threshold):
            return [item for item in expected.objects if item["score"] >= threshold]

        assert page.locator("#boxes rect").count() == page.locator("#objects tr").count() == len(shown(0.02))
        assert page.locator("#masks image").count() == 0
        best = expected.objects[0]
        assert page.locator("#boxes text").first.text_content() == f"{best['label']} {round(100 * best['score'])}%"
        assert page.locator("#objects tr").first.inner_text().split("\t")[:2] == [best["label"], f"{best['score']:.2f}"]
        # the box lies on the picture where the detection says
        image, box = page.locator("#image").bounding_box(), page.locator("#boxes rect").first.bounding_box()
        scale = image["width"] / expected.width
        assert image["height"] == pytest.approx(scale * expected.height, abs=2)
        assert box["x"] - image["x"] == pytest.approx(scale * best["box"][0], abs=4)
        assert box["width"] == pytest.approx(scale * (best["box"][2] - best["box"][0]), abs=8)

        middle = expected.objects[len(expected.objects) // 2]["score"]
        page.locator("#threshold").fill(f"{middle:.2f}")
        assert page.locator("#boxes rect").count() == len(shown(float(f"{middle:.2f}")))
        page.screenshot(path=str(tmp_path / "page.png"))

        page.locator("#threshold").fill("0")
        page.select_option("#model", "1")
        other = models.detect(picture.read_bytes(), 1).objects[0]
        page.locator("#objects tr").first.get_by_text(
            ", ".join(str(math.floor(v + 0.5)) for v in other["box"])
        ).wait_for()
        assert not problems

        page.set_input_files("#file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"text"})
        page.wait_for_selector("#status.error")
        assert "no image" in page.inner_text("#status") or "cannot show" in page.inner_text("#status")
        assert page.locator("#boxes rect").count() == 0


@pytest.mark.parametrize("masked_models", ["bitmaps"], indirect=True)
def test_a_person_sees_masks_that_follow_the_threshold(masked_models, picture, tmp_path):
    expected = masked_models.detect(picture.read_bytes(), 0)
    masked = [item for item in expected.objects if item["mask"]]
    with served(masked_models) as address, shown_page(address) as (page, problems):
        page.evaluate(DROP, [base64.b64encode(picture.read_bytes()).decode(), "photo.png"])
        page.get_by_text("photo.png: 120 x 80 pixels").wait_for()
        page.locator("#threshold").fill("0")
        assert page.locator("#masks image").count() == len(masked) > 1
        sizes = page.evaluate(SIZES)
        assert sizes == sorted(sizes, reverse=True)  # small ones above large ones

        best = masked[0]
        page.locator("#threshold").fill(f"{best['score'] - 0.005:.2f}")
        alone = [item for item in masked if item["score"] >= float(page.input_value("#threshold"))]
        assert page.locator("#masks image").count() == len(alone) >= 1
        image, mask = page.locator("#image").bounding_box(), page.locator("#masks image").first.bounding_box()
        scale = image["width"] / expected.width
        largest = max(alone, key=lambda item: item["mask"]["width"] * item["mask"]["height"])["mask"]
        assert mask["x"] - image["x"] == pytest.approx(scale * largest["x"], abs=2)
        assert mask["y"] - image["y"] == pytest.approx(scale * largest["y"], abs=2)
        assert mask["width"] == pytest.approx(scale * largest["width"], abs=2)
        assert mask["height"] == pytest.approx(scale * largest["height"], abs=2)

        page.locator("#objects tr").first.hover()
        assert page.locator("#masks image.strong").count() == 1
        page.locator("#masks image.strong").evaluate("mask => mask.decode()")  # the browser can show it
        page.screenshot(path=str(tmp_path / "page.png"))
        page.locator("#threshold").fill("1")
        assert page.locator("#masks image").count() == 0
        assert not problems
