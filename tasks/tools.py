"""Programs that are not from Debian: uv, certbot and our own."""

from pyinfra.api.deploy import deploy

from operations import onhost, python


@deploy("Tools")
def tools() -> None:
    """Install uv and certbot as uv.lock pins them, and our own programs."""
    for package in ("uv", "certbot"):
        python.install(name=f"Install {package} as uv.lock pins it", group=package)
    onhost.install(name="Install onebox's own programs")
