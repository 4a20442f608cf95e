"""`python -m mistral7b` is the command `mistral7b`."""

from __future__ import annotations

import sys

from mistral7b.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
