"""Programs of onhost/ that the deployer sends over its own connection, to a bare server too."""

from __future__ import annotations

import shlex
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "onhost/onebox_release"
# Each module is imported under its own name, and the last is run.
RUN = """
import sys, types
sys.modules["onebox_release"] = types.ModuleType("onebox_release")
for name, text in {modules!r}.items():
    module = types.ModuleType("onebox_release." + name)
    module.__package__ = "onebox_release"
    sys.modules[module.__name__] = module
    exec(compile(text, name + ".py", "exec"), vars(module))
sys.exit(module.main(*sys.argv[1:]))
"""


def sent(*names: str, arguments: tuple[str, ...] = ()) -> str:
    """Return the shell command that runs the last of some modules, with those that it imports
    before it."""
    modules = {name: (PACKAGE / f"{name}.py").read_text() for name in names}
    return shlex.join(["python3", "-c", RUN.format(modules=modules), *arguments])
