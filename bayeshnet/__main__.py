"""Run the command line with ``python -m bayeshnet``."""

from .cli import main

if __name__ == "__main__":
    main()
