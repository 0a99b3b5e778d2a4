"""`python -m meta` is the `meta` command."""

from meta.cli.__main__ import main

if __name__ == "__main__":
    main()
