"""The formats of images that are opened, by Pillow's names.

Pillow knows about seventy, and picks one by the content of a file and not by its name. Among them are programs
(PostScript, which Ghostscript would run), descriptions of pages, and decoders that hardly anybody uses or looks after.
"""

from collections.abc import Mapping

FORMATS: Mapping[str, tuple[str, ...]] = {  # with the endings of their files
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pfm"),
    "JPEG2000": (".jp2",),
}
# What browsers show, and of which the header says what decoding takes: tiles of a TIFF have sizes of their own.
UPLOAD_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
