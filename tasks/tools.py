"""Programs that the server needs beside Debian's: uv, certbot, and our own."""

from pathlib import Path

from pyinfra.api.deploy import deploy

from operations import files, python

ONHOST = Path(__file__).resolve().parent.parent / "onhost"
BASE = "/usr/local/lib/onebox"
PACKAGES = "onebox_release", "onebox_watch"
PROGRAMS = "onebox-release", "onebox-submit", "onebox-watch"


@deploy("Tools")
def tools() -> None:
    """Install uv and certbot as uv.lock pins them, and our own programs."""
    for package in ("uv", "certbot"):
        python.environment(name=f"Install {package} as uv.lock pins it", group=package)
    modules = sorted(path for package in PACKAGES for path in (ONHOST / package).glob("*.py"))
    files.place(
        name="Place our own programs",
        things=[
            *(files.Folder(f"{BASE}/{package}", holds=()) for package in PACKAGES),
            *(
                files.File(f"{BASE}/{path.parent.name}/{path.name}", path.read_text())
                for path in modules
            ),
            *(
                files.File(f"/usr/local/bin/{program}", (ONHOST / program).read_text(), mode="755")
                for program in PROGRAMS
            ),
        ],
    )
