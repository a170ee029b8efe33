"""Files: written atomically, listed in manifests, in locked folders. The only room that opens a file for writing."""

from .atomic import remove_temporaries, write_bytes, write_text
from .lock import LOCK, lock_folder
from .manifest import (
    MANIFEST,
    FileEntry,
    Manifest,
    check_file,
    check_format,
    fingerprint,
    listing,
    read_manifest,
    write_manifest,
)

__all__ = [
    "LOCK",
    "MANIFEST",
    "FileEntry",
    "Manifest",
    "check_file",
    "check_format",
    "fingerprint",
    "listing",
    "lock_folder",
    "read_manifest",
    "remove_temporaries",
    "write_bytes",
    "write_manifest",
    "write_text",
]
