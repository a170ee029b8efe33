"""Files: written atomically, listed in manifests, read within bounds; the only room that opens a file to write."""

from .append import append_text
from .arrays import read_arrays, writing_arrays
from .atomic import remove_temporaries, write_bytes, write_text
from .lock import LOCK, is_transient, lock_folder
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
from .names import check_file_name, check_line, check_no_links
from .texts import parse_json, read_bytes, read_json, read_text
from .yaml_text import parse_yaml, read_yaml

__all__ = [
    "LOCK",
    "MANIFEST",
    "FileEntry",
    "Manifest",
    "append_text",
    "check_file",
    "check_file_name",
    "check_format",
    "check_line",
    "check_no_links",
    "fingerprint",
    "is_transient",
    "listing",
    "lock_folder",
    "parse_json",
    "parse_yaml",
    "read_arrays",
    "read_bytes",
    "read_json",
    "read_manifest",
    "read_text",
    "read_yaml",
    "remove_temporaries",
    "write_bytes",
    "write_manifest",
    "write_text",
    "writing_arrays",
]
