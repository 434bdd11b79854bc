"""The formats of images that are opened, by Pillow's names.

Pillow knows about forty, and picks one by the content of a file and not by its name. Among them are programs
(PostScript, which Ghostscript would run), descriptions of pages, and decoders that hardly anybody uses or looks after.
Files of strangers are opened with ``Image.open(file, formats=FORMATS)``.
"""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# What browsers show, and of which the header says what decoding takes: tiles of a TIFF have sizes of their own.
UPLOAD_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
