"""`python -m slsgu`, the same as the `slsgu` command."""

from slsgu.cli import main

if __name__ == "__main__":
    main()
