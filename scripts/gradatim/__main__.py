"""``python -m gradatim``."""

import sys

if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):  # the latter from Python 3.11 on
    del sys.path[0]  # the folder that it is called in: none of its files stands for a module of ours

from gradatim.cli import main

main()
