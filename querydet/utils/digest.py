"""Checksums of files and texts."""

import hashlib

_CHUNK = 1 << 20


def hash_file(path: str) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def short_digest(text: str, length: int = 8) -> str:
    """Return the first hexadecimal digits of the SHA-256 of a text, which may be a path of any bytes."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:length]
