"""Files: written atomically, and read within bounds. The only room that opens a file for writing."""

from .atomic import write_bytes, write_text
from .texts import parse_json, read_bytes, read_json, read_text
from .yaml_text import parse_yaml, read_yaml

__all__ = [
    "parse_json",
    "parse_yaml",
    "read_bytes",
    "read_json",
    "read_text",
    "read_yaml",
    "write_bytes",
    "write_text",
]
