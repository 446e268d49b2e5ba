"""Run by each Python that starts with this folder on PYTHONPATH: programs of tests keep stores where tests do."""

import os
import sys
from pathlib import Path

if os.environ.get("STEERSMAN_TEST_SERVER"):
    sys.path.append(str(Path(__file__).parents[1]))
    import stores_on_a_server

    stores_on_a_server.install()
