"""What reading a damaged .npz file can raise. Knows no format."""

from __future__ import annotations

import zipfile
import zlib

DAMAGE = (
    *(OSError, ValueError, EOFError, KeyError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)
"""A zip archive with flipped bits may also claim to be encrypted, or compressed in a way that nobody knows."""
