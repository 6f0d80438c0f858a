"""Make ``python -m actionparty`` the command line."""

from __future__ import annotations

from actionparty.interfaces.cli import main

if __name__ == "__main__":
    main()
