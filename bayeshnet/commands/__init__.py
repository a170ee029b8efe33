"""The commands of the command line, one module each with a ``main(words) -> exit code``."""

__all__ = ["compare", "list", "run"]
