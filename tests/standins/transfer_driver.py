"""Processes that pull, import, remove and collect garbage in an order that a seed decides, until they are killed.

This program imports everything once and forks a worker for each line ``fork SEED LOG`` on standard input, so that
kills meet work and not imports; ``reap PID`` waits for one that was killed.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import traceback
from pathlib import Path

from huggingface_hub import close_session

from llmasos.errors import NotFound, Unavailable
from llmasos.library.acquire import import_path, pull
from llmasos.library.store import Library


def work(home: str, seed: str, folder: str, sources: list[str]) -> None:
    choice = random.Random(seed)
    library = Library(Path(home))
    while True:
        action = choice.choice(["pull", "pull", "pull", "import", "rm", "gc"])
        try:
            if action == "pull":
                pull(choice.choice(sources), library=library, force=choice.random() < 0.5)
            elif action == "import":
                import_path(Path(folder), name="imported:v1", library=library)
            elif action == "rm":
                names = library.names()
                if names:
                    library.remove(choice.choice(names))
            else:
                library.gc()
        except (NotFound, Unavailable) as error:  # the other process removed it, or worked on it all the time
            print(error, file=sys.stderr)
        print(action, flush=True)


def main(home: str, folder: str, *sources: str) -> None:
    with tempfile.TemporaryDirectory() as elsewhere:
        warm = Library(Path(elsewhere))
        for source in sources:
            pull(source, library=warm)
        import_path(Path(folder), library=warm)
        warm.close()
    close_session()  # workers must not share a connection
    print("ready", flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "reap":
            os.waitpid(int(arguments[0]), 0)
            print("reaped", flush=True)
            continue
        worker = os.fork()
        if worker == 0:
            log = os.open(arguments[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            try:
                work(home, arguments[0], folder, list(sources))
            finally:  # only an error comes here
                traceback.print_exc()
                os._exit(1)
        print(worker, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
