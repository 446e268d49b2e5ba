"""The doubles of the server's tests lie one folder up; tests skip themselves where playwright is missing."""

import importlib.util
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

if importlib.util.find_spec("playwright"):
    from browser_site import browser, site

    __all__ = ["browser", "site"]
