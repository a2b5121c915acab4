"""`python -m stockade`: the command line."""

from stockade.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
