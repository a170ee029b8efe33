"""The commands of the command line; each is a module with a function ``main(words)`` that returns the exit code."""

__all__ = ["compare", "list", "run", "sweep"]
