"""One file that holds everything: its structure, its numbers, its pictures, and what is there in a real browser."""

import base64
import io

from PIL import Image

from tests.browser import open_browser


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
