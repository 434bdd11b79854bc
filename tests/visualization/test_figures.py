"""Figures as files and as bytes, without a window."""

import io

from matplotlib import pyplot
from PIL import Image

from querydet.visualization.figures import DPI, new_figure, png_of, save_figure


def test_a_figure_has_its_size_and_no_window(tmp_path):
    figure = new_figure(3, 2)
    figure.subplots().plot([0, 1], [1, 0])
    path = tmp_path / "new" / "plot.png"
    save_figure(figure, str(path))
    assert Image.open(path).size == (3 * DPI, 2 * DPI)
    content = Image.open(io.BytesIO(png_of(figure)))
    assert (content.format, content.size) == ("PNG", (3 * DPI, 2 * DPI))
    assert pyplot.get_fignums() == []


def test_options_reach_the_picture():
    assert Image.open(io.BytesIO(png_of(new_figure(1, 1), dpi=20))).size == (20, 20)
