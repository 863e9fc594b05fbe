"""What the server imports: `links.main:app`."""

from links.application import create_app
from links.settings import Settings, read_settings

app = create_app(read_settings(Settings))
