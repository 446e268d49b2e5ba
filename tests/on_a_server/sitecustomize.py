"""Python runs this as it starts where this folder is on PYTHONPATH: programs that tests start keep stores where tests do."""

import os
import sys
from pathlib import Path

if os.environ.get("STEERSMAN_TEST_SERVER"):
    sys.path.append(str(Path(__file__).parents[1]))
    import stores_on_a_server

    stores_on_a_server.install()
