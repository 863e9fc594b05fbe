"""lab/acme.py: Pebble's configuration."""

from lab import acme
from lab.layout import Lab


def test_pebble_validates_on_the_ports_of_a_real_ca(lab: Lab) -> None:
    config = acme.config(lab)["pebble"]
    assert isinstance(config, dict)
    assert (config["httpPort"], config["tlsPort"]) == (80, 443)
    assert config["profiles"]["shortlived"]["validityPeriod"] == 160 * 3600
