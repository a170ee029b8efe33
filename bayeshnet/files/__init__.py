"""Files: written atomically. The only room that opens a file for writing."""

from .atomic import write_bytes, write_text

__all__ = ["write_bytes", "write_text"]
