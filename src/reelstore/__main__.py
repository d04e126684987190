"""`python -m reelstore`: the command line."""

from reelstore.cli import main

if __name__ == "__main__":
    main(prog_name="reelstore")
