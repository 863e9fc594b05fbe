"""Programs of onhost/sent/, which the deployer runs over its connection, on a new server too."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator
from pathlib import Path

ONHOST = Path(__file__).resolve().parent.parent / "onhost"
# Imports each module under its own name, and runs the last.
RUN = """
import sys, types
for name, text in {modules!r}.items():
    module = types.ModuleType(name)
    module.__path__ = []
    sys.modules[name] = module
    package, _, base = name.rpartition(".")
    if package:
        setattr(sys.modules[package], base, module)
    exec(compile(text, name, "exec"), vars(module))
sys.exit(module.main(*sys.argv[1:]))
"""


def sent(name: str, *arguments: str) -> str:
    """Return the shell command that runs `main` of a module, as in "sent.access".

    All that the module imports from onhost/ is sent with it, except the text of packages.
    """
    modules = dict.fromkeys(_with_imports(name), "")
    for module in modules:
        file = (ONHOST / module.replace(".", "/")).with_suffix(".py")
        modules[module] = file.read_text() if file.is_file() else ""
    return shlex.join(["python3", "-c", RUN.format(modules=modules), *arguments])


def _with_imports(name: str) -> Iterator[str]:
    """Yield a module of onhost/, after its packages and all that it imports."""
    package = name.rpartition(".")[0]
    if package:
        yield from _with_imports(package)
    file = (ONHOST / name.replace(".", "/")).with_suffix(".py")
    if file.is_file():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                for each in names:
                    if (ONHOST / each.replace(".", "/")).with_suffix(".py").is_file():
                        yield from _with_imports(each)
    yield name
