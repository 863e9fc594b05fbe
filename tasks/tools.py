"""Programs that the server needs beside Debian's: uv, certbot, and our own."""

from pathlib import Path

from pyinfra.api.deploy import deploy

from operations import files, python

ONHOST = Path(__file__).resolve().parent.parent / "onhost"
PACKAGE = "/usr/local/lib/onebox/onebox_release"


@deploy("Tools")
def tools() -> None:
    """Install uv and certbot as uv.lock pins them, and our own programs."""
    for package in ("uv", "certbot"):
        python.environment(name=f"Install {package} as uv.lock pins it", group=package)
    modules = sorted((ONHOST / "onebox_release").glob("*.py"))
    files.place(
        name="Place our own programs",
        things=[
            files.Folder(PACKAGE, holds=()),
            *(files.File(f"{PACKAGE}/{path.name}", path.read_text()) for path in modules),
            *(
                files.File(f"/usr/local/bin/{name}", (ONHOST / name).read_text(), mode="755")
                for name in ("onebox-release", "onebox-submit")
            ),
        ],
    )
