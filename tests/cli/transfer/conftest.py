"""Stand-in servers for tests of what comes from and goes to other machines."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "standins"))

from standin_fixtures import *  # noqa: F403
