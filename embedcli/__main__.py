"""`python -m embedcli` is `embed`."""

from embedcli.cli import entry

if __name__ == "__main__":
    entry()
