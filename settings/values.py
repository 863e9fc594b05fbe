"""The types of values that settings have, and their validation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    ValidationInfo,
)

from settings.mistakes import invalid
from settings.reserved_names import RESERVED_NAMES, RESERVED_PREFIXES

# A name is that of a Linux user (32 characters at most), a PostgreSQL role and a unit, also with
# the suffix "-migrate"; the user with the suffix "-build" installs the app's packages.
USER_SUFFIXES = ("-migrate", "-build")
NAME = re.compile(r"[a-z][a-z0-9-]{0,21}[a-z0-9]")
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = re.compile(rf"(?=.{{4,253}}$)({LABEL}\.)+[a-z]([a-z0-9-]{{0,61}}[a-z0-9])")
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
CONTROL = {chr(code) for code in (*range(32), 127)}
PARAMETER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
ENVIRONMENT = re.compile(r"[a-z][a-z0-9-]{0,31}")
# An option before the key, or a line break in it, could lift its restrictions.
PUBLIC_KEY = re.compile(r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ AAAA[A-Za-z0-9+/]+={0,3}( [\w@.+ -]*)?")
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")

# As in "Mon..Fri *-*-* 07:30:00 Europe/Berlin"; systemd on the server validates it again.
DAYS = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"
PART = r"[\d*][\d*/,.]*"
SCHEDULE = re.compile(
    r"minutely|hourly|daily|weekly|monthly|quarterly|semiannually|yearly"
    rf"|(?=\S)({DAYS}((,|\.\.){DAYS})* ?)?(({PART}-)?{PART}[-~]{PART} ?)?"
    rf"({PART}:{PART}(:{PART})?)?( (UTC|[A-Z]\w+(/\w+)+))?"
)
SERVER_PREFIX = "ONEBOX_"  # of secrets that belong to no app; reserved as an app's name

ACME_DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}


@dataclass(frozen=True)
class Secret:
    """A secret's name, and its value, which is masked when printed or serialised."""

    name: str
    value: SecretStr


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise invalid(
            "2 to 23 lower-case letters, digits and dashes, starting with a letter",
            'choose a name such as "links"',
        )
    is_reserved = value in RESERVED_NAMES or value.startswith(RESERVED_PREFIXES)
    if is_reserved or value.endswith(USER_SUFFIXES):
        short = value.removesuffix("-migrate").removesuffix("-build")[:20].rstrip("-")
        raise invalid("a name that the server doesn't use", f'choose another, such as "my-{short}"')
    return value


def _process_name(value: str) -> str:
    # No dash: links-x with web and links with x-web would share a unit.
    reserved = {"web", "migrate", "hook"}
    if not re.fullmatch(r"[a-z][a-z0-9]{0,15}", value) or value in reserved:
        raise invalid(
            'up to 16 lower-case letters and digits, not "web", "migrate" or "hook"',
            'write "worker"',
        )
    return value


def _domain(value: str) -> str:
    if not DOMAIN.fullmatch(value):
        bare = re.sub(r"^[a-z]+://", "", value.strip().lower()).split("/")[0].split(":")[0]
        bare = bare.strip("*.")
        suggestion = bare if DOMAIN.fullmatch(bare) else "links.example.com"
        raise invalid("a domain name in lower case, nothing else", f'write "{suggestion}"')
    return value


def _variable(value: str) -> str:
    if not VARIABLE.fullmatch(value):
        suggestion = re.sub(r"[^A-Z0-9_]", "_", value.upper()).lstrip("0123456789") or "API_KEY"
        raise invalid("an environment variable's name in upper case", f'write "{suggestion}"')
    return value


def _one_line(value: str) -> str:
    if any(character in value for character in CONTROL):
        raise invalid("one line of text", "remove line breaks and control characters")
    return value


def _url_path(value: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]*", value):
        raise invalid("a path that starts with a slash", 'write it like "/health/ready"')
    return value


def _relative_folder(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", value) or ".." in value.split("/"):
        raise invalid("a folder below `source`", 'write it like "links/static"')
    return value.rstrip("/")


def _debian_package(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", value):
        raise invalid("the name of a Debian package", 'write it like "libmagic1"')
    return value


def _address(value: str) -> str:
    try:
        ip_address(value)
    except ValueError:
        if not HOST.fullmatch(value):
            raise invalid(
                "an IP address, a host name or a Host of your ssh_config",
                'write it like "203.0.113.10"',
            ) from None
    return value


def _parameter_name(value: str) -> str:
    if not PARAMETER.fullmatch(value):
        raise invalid(
            "letters, digits, and . _ - between them", 'choose the end of a name, such as "token"'
        )
    return value


def _environment(value: str) -> str:
    if not ENVIRONMENT.fullmatch(value):
        raise invalid("lower-case letters, digits and dashes", 'write "production" or "staging"')
    return value


def _public_key(value: str) -> str:
    if not PUBLIC_KEY.fullmatch(value) or len(value.split()[1].rstrip("=")) % 4 == 1:
        raise invalid(
            "one public key, as in its .pub file",
            'write it like "ssh-ed25519 AAAA... ci"',
            found="something else",
        )
    return value


def _acme_directory(value: str) -> str:
    value = ACME_DIRECTORIES.get(value, value)
    if not re.fullmatch(r"https://\S+", value):
        raise invalid(
            '"letsencrypt", "letsencrypt-staging" or the https:// URL of an ACME directory',
            'write "letsencrypt"',
        )
    return value


def _file(value: Path, info: ValidationInfo) -> Path:
    path = _relative_to_inventory(value, info)
    if not path.is_file():
        fix = f"create {path}, or correct the path"
        raise invalid("a file that exists", fix, found=str(path))
    return path


def _folder(value: Path, info: ValidationInfo) -> Path:
    path = _relative_to_inventory(value, info)
    if not path.is_dir():
        fix = f"create {path}, or correct the path"
        raise invalid("a folder that exists", fix, found=str(path))
    return path


def _relative_to_inventory(value: Path, info: ValidationInfo) -> Path:
    root = info.context["root"] if info.context else Path.cwd()
    try:
        return Path(root / value.expanduser()).resolve()
    except RuntimeError:  # ~ with an unknown user
        raise invalid("a path", "write the full path, without ~", found=str(value)) from None


def _secret(name: object, info: ValidationInfo) -> Secret:
    """Return an app's secret, with its value from the environment or the secrets file."""
    if not isinstance(name, str):
        raise invalid(
            "a secret's name in quotes",
            'write it like "STRIPE_KEY"; its value goes to secrets.env',
            found=f"a {type(name).__name__}",
        )
    _variable(name)
    if "name" not in info.data:  # that mistake is reported; the prefix depends on it
        return Secret(name, SecretStr(""))
    return Secret(name, _value(name, secret_prefix(info.data["name"]) + name, info))


def _value(name: str, variable: str, info: ValidationInfo) -> SecretStr:
    """Return the value of a variable in the environment or the secrets file."""
    context = info.context or {"secrets": {}, "secrets_file": "secrets.env"}
    value = context["secrets"].get(variable)
    if not value:
        raise invalid(
            f"a value for the secret {name}",
            f"set {variable} in the environment or in {context['secrets_file']}",
            found="none",
        )
    if any(character in value for character in CONTROL):
        raise invalid(
            f"one line of text in the secret {name}",
            f"remove line breaks and control characters from {variable}",
            found="a value with control characters",
        )
    return SecretStr(value)


def _server_secret(name: object, info: ValidationInfo) -> SecretStr:
    """Return the value of a secret that belongs to no app."""
    if not isinstance(name, str):
        raise invalid(
            "a secret's name in quotes",
            'write it like "SMTP_PASSWORD"; its value goes to secrets.env',
            found=f"a {type(name).__name__}",
        )
    if not VARIABLE.fullmatch(name):
        raise invalid(
            "a secret's name in upper case",
            'write it like "SMTP_PASSWORD"; its value goes to secrets.env',
            found="something else",  # hidden, as it may be the secret itself
        )
    return _value(name, SERVER_PREFIX + name, info)


def _url_or_secret(value: object, info: ValidationInfo) -> SecretStr:
    """Return the URL, or the value of the secret that has it."""
    if isinstance(value, str) and VARIABLE.fullmatch(value):
        value = _value(value, SERVER_PREFIX + value, info).get_secret_value()
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", value):
        raise invalid(
            "an https:// URL, or the name of a secret with the URL",
            'write it like "https://example.com/hook", or "WEBHOOK" with ONEBOX_WEBHOOK in'
            " secrets.env",
            found="something else",  # hidden, as it may be the secret itself
        )
    return SecretStr(value)


def _email_address(value: str) -> str:
    if not re.fullmatch(r"[^@\s<>,;]+@[^@\s<>,;]+", value):
        raise invalid("an e-mail address, nothing else", 'write it like "you@example.com"')
    return value


def _schedule(value: str) -> str:
    if not SCHEDULE.fullmatch(value):
        raise invalid(
            "a time in the format of systemd's OnCalendar=",
            'write it like "daily", "Mon..Fri 07:30" or "*-*-* *:00/15:00 UTC";'
            " see man systemd.time",
        )
    return value


def _masked(secret: Secret) -> dict[str, str]:
    return {"name": secret.name, "value": str(secret.value)}


def secret_prefix(app: str) -> str:
    """Return the prefix of an app's secrets in the environment and the secrets file."""
    return app.upper().replace("-", "_") + "_"


Name = Annotated[str, AfterValidator(_name)]
ProcessName = Annotated[str, AfterValidator(_process_name)]
Domain = Annotated[str, AfterValidator(_domain)]
Variable = Annotated[str, AfterValidator(_variable)]
OneLine = Annotated[str, AfterValidator(_one_line)]
UrlPath = Annotated[str, AfterValidator(_url_path)]
RelativeFolder = Annotated[str, AfterValidator(_relative_folder)]
DebianPackage = Annotated[str, AfterValidator(_debian_package)]
Address = Annotated[str, AfterValidator(_address)]
EnvironmentName = Annotated[str, AfterValidator(_environment)]
PublicKey = Annotated[str, AfterValidator(_public_key)]
AcmeDirectory = Annotated[str, AfterValidator(_acme_directory)]
ParameterName = Annotated[str, AfterValidator(_parameter_name)]
ExistingFile = Annotated[Path, AfterValidator(_file)]
ExistingFolder = Annotated[Path, AfterValidator(_folder)]
SecretByName = Annotated[Secret, PlainValidator(_secret), PlainSerializer(_masked)]
Masked = PlainSerializer(str, when_used="json")
ServerSecret = Annotated[SecretStr, PlainValidator(_server_secret), Masked]
UrlOrSecret = Annotated[SecretStr, PlainValidator(_url_or_secret), Masked]
EmailAddress = Annotated[str, AfterValidator(_email_address)]
Schedule = Annotated[str, AfterValidator(_schedule)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
