"""Entry of ``python -m llmasos.worker``."""

import sys

from llmasos.worker.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
