"""What the server imports: `links.main:app`."""

from links import logs
from links.application import create_app
from links.settings import Settings, read_settings

settings = read_settings(Settings)
logs.configure(development=settings.development)
app = create_app(settings)
