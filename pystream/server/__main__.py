"""One process of a node, as its supervisor starts it: `python -m pystream.server ROLE`.

Modules live as long as the process. So the garbage collector neither looks for what could go while they are
loaded, which takes a quarter of that time, nor at any of them later: each of its full collections would keep
all viewers of a worker waiting for some tens of milliseconds.
"""

import gc
import sys
from importlib import import_module

_MODULES = {
    "admin": "pystream.server.admin",
    "office": "pystream.server.office.counter",
    "worker": "pystream.server.worker",
    "writer": "pystream.server.writer",
}


def main(role: str) -> None:
    """The whole of the process. `role`: what it is in its node."""
    gc.disable()
    module = import_module(_MODULES[role])
    gc.freeze()
    gc.enable()
    module.main()


if __name__ == "__main__":
    main(sys.argv[1])
