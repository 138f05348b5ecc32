"""Stand-in servers, and an environment without this machine's proxies and tokens."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "standins"))

from standin_fixtures import own_environment  # noqa: F401
