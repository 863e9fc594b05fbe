"""The kinds of value that settings are made of."""

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

from settings.mistakes import wrong
from settings.reserved_names import PREFIXES, TAKEN

# A name becomes a Linux user (32 characters at most), a PostgreSQL role and a unit, and so does
# the name with "-migrate" behind it; its packages are installed by a user with "-build" there.
OF_USERS = ("-migrate", "-build")
NAME = re.compile(r"[a-z][a-z0-9-]{0,21}[a-z0-9]")
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = re.compile(rf"(?=.{{4,253}}$)({LABEL}\.)+[a-z]([a-z0-9-]{{0,61}}[a-z0-9])")
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
CONTROL = {chr(code) for code in (*range(32), 127)}
PARAMETER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
ENVIRONMENT = re.compile(r"[a-z][a-z0-9-]{0,31}")
# An option before the key, or a line break in it, could take the limits off.
PUBLIC_KEY = re.compile(r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ AAAA[A-Za-z0-9+/]+={0,3}( [\w@.+ -]*)?")
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")

# As in "Mon..Fri *-*-* 07:30:00 Europe/Berlin"; the server's systemd has the last word.
DAYS = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"
PART = r"[\d*][\d*/,.]*"
SCHEDULE = re.compile(
    r"minutely|hourly|daily|weekly|monthly|quarterly|semiannually|yearly"
    rf"|(?=\S)({DAYS}((,|\.\.){DAYS})* ?)?(({PART}-)?{PART}[-~]{PART} ?)?"
    rf"({PART}:{PART}(:{PART})?)?( (UTC|[A-Z]\w+(/\w+)+))?"
)
OF_SERVER = "ONEBOX_"  # before the name of a secret that belongs to no app; no app is called so

ACME_DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}


@dataclass(frozen=True)
class Secret:
    """A secret's name, and its value that neither prints nor serialises."""

    name: str
    value: SecretStr


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise wrong(
            "2 to 23 lower-case letters, digits and dashes, starting with a letter",
            'choose a name such as "links"',
        )
    if value in TAKEN or value.startswith(PREFIXES) or value.endswith(OF_USERS):
        short = value.removesuffix("-migrate").removesuffix("-build")[:20].rstrip("-")
        raise wrong(
            "a name that the server doesn't use itself", f'choose another, such as "my-{short}"'
        )
    return value


def _process_name(value: str) -> str:
    # No dash: links-x with web and links with x-web would share a unit.
    taken = {"web", "migrate", "hook"}
    if not re.fullmatch(r"[a-z][a-z0-9]{0,15}", value) or value in taken:
        raise wrong(
            'up to 16 lower-case letters and digits, not "web", "migrate" or "hook"',
            'write "worker"',
        )
    return value


def _domain(value: str) -> str:
    if not DOMAIN.fullmatch(value):
        bare = re.sub(r"^[a-z]+://", "", value.strip().lower()).split("/")[0].split(":")[0]
        bare = bare.strip("*.")
        suggestion = bare if DOMAIN.fullmatch(bare) else "links.example.com"
        raise wrong("a domain name in lower case, nothing else", f'write "{suggestion}"')
    return value


def _variable(value: str) -> str:
    if not VARIABLE.fullmatch(value):
        suggestion = re.sub(r"[^A-Z0-9_]", "_", value.upper()).lstrip("0123456789") or "API_KEY"
        raise wrong("an environment variable's name in upper case", f'write "{suggestion}"')
    return value


def _one_line(value: str) -> str:
    if any(character in value for character in CONTROL):
        raise wrong("one line of text", "take out line breaks and control characters")
    return value


def _url_path(value: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]*", value):
        raise wrong("a path that starts with a slash", 'write it as in "/health/ready"')
    return value


def _relative_folder(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", value) or ".." in value.split("/"):
        raise wrong("a folder below `source`", 'write it as in "links/static"')
    return value.rstrip("/")


def _debian_package(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", value):
        raise wrong("the name of a Debian package", 'write it as in "libmagic1"')
    return value


def _address(value: str) -> str:
    try:
        ip_address(value)
    except ValueError:
        if not HOST.fullmatch(value):
            raise wrong(
                "an IP address, a host name or a Host of your ssh_config",
                'write it as in "203.0.113.10"',
            ) from None
    return value


def _parameter_name(value: str) -> str:
    if not PARAMETER.fullmatch(value):
        raise wrong(
            "letters, digits, and . _ - between them", 'choose the end of a name, such as "token"'
        )
    return value


def _environment(value: str) -> str:
    if not ENVIRONMENT.fullmatch(value):
        raise wrong("lower-case letters, digits and dashes", 'write "production" or "staging"')
    return value


def _public_key(value: str) -> str:
    if not PUBLIC_KEY.fullmatch(value) or len(value.split()[1].rstrip("=")) % 4 == 1:
        raise wrong(
            "one public key, as its .pub file has it",
            'write it as in "ssh-ed25519 AAAA... ci"',
            found="something else",
        )
    return value


def _acme_directory(value: str) -> str:
    value = ACME_DIRECTORIES.get(value, value)
    if not re.fullmatch(r"https://\S+", value):
        raise wrong(
            '"letsencrypt", "letsencrypt-staging" or the https:// address of an ACME directory',
            'write "letsencrypt"',
        )
    return value


def _file(value: Path, info: ValidationInfo) -> Path:
    path = _beside_inventory(value, info)
    if not path.is_file():
        raise wrong("a file that exists", f"create {path}, or correct the path", found=str(path))
    return path


def _folder(value: Path, info: ValidationInfo) -> Path:
    path = _beside_inventory(value, info)
    if not path.is_dir():
        raise wrong("a folder that exists", f"create {path}, or correct the path", found=str(path))
    return path


def _beside_inventory(value: Path, info: ValidationInfo) -> Path:
    root = info.context["root"] if info.context else Path.cwd()
    try:
        return Path(root / value.expanduser()).resolve()
    except RuntimeError:  # ~ and a user that isn't there
        raise wrong("a path", "write it out, without ~", found=str(value)) from None


def _secret(name: object, info: ValidationInfo) -> Secret:
    """Find the value of a secret that the inventory names."""
    if not isinstance(name, str):
        raise wrong(
            "a secret's name in quotes",
            'write it as in "STRIPE_KEY"; its value goes to secrets.env',
            found=f"a {type(name).__name__}",
        )
    _variable(name)
    if "name" not in info.data:  # that mistake is told already, and the prefix hangs on it
        return Secret(name, SecretStr(""))
    return Secret(name, _value(name, secret_prefix(info.data["name"]) + name, info))


def _value(name: str, variable: str, info: ValidationInfo) -> SecretStr:
    """Return what the file of secrets or the environment has under a variable."""
    context = info.context or {"secrets": {}, "secrets_file": "secrets.env"}
    value = context["secrets"].get(variable)
    if not value:
        raise wrong(
            f"a value for the secret {name}",
            f"set {variable} in the environment or in {context['secrets_file']}",
            found="none",
        )
    if any(character in value for character in CONTROL):
        raise wrong(
            f"one line of text in the secret {name}",
            f"take line breaks and control characters out of {variable}",
            found="a value with some",
        )
    return SecretStr(value)


def _of_server(name: object, info: ValidationInfo) -> SecretStr:
    """Find the value of a secret that belongs to no app."""
    if not isinstance(name, str):
        raise wrong(
            "a secret's name in quotes",
            'write it as in "SMTP_PASSWORD"; its value goes to secrets.env',
            found=f"a {type(name).__name__}",
        )
    if not VARIABLE.fullmatch(name):
        raise wrong(
            "a secret's name in upper case",
            'write it as in "SMTP_PASSWORD"; its value goes to secrets.env',
            found="something else",  # which may be the secret itself
        )
    return _value(name, OF_SERVER + name, info)


def _web_address(value: object, info: ValidationInfo) -> SecretStr:
    """Return an address, or the value of the secret that is named in its place."""
    if isinstance(value, str) and VARIABLE.fullmatch(value):
        value = _value(value, OF_SERVER + value, info).get_secret_value()
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", value):
        raise wrong(
            "an https:// address, or the name of the secret that it is",
            'write it as in "https://example.com/hook", or as in "WEBHOOK", with ONEBOX_WEBHOOK in'
            " secrets.env",
            found="something else",  # which may be the secret itself
        )
    return SecretStr(value)


def _mail_address(value: str) -> str:
    if not re.fullmatch(r"[^@\s<>,;]+@[^@\s<>,;]+", value):
        raise wrong("an e-mail address, nothing else", 'write it as in "you@example.com"')
    return value


def _schedule(value: str) -> str:
    if not SCHEDULE.fullmatch(value):
        raise wrong(
            "a time as systemd's OnCalendar= has it",
            'write it as in "daily", "Mon..Fri 07:30" or "*-*-* *:00/15:00 UTC";'
            " see man systemd.time",
        )
    return value


def _masked(secret: Secret) -> dict[str, str]:
    return {"name": secret.name, "value": str(secret.value)}


def secret_prefix(app: str) -> str:
    """Return what stands before a secret's name, so that two apps' secrets keep apart."""
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
SecretOfServer = Annotated[SecretStr, PlainValidator(_of_server), Masked]
WebAddress = Annotated[SecretStr, PlainValidator(_web_address), Masked]
MailAddress = Annotated[str, AfterValidator(_mail_address)]
Schedule = Annotated[str, AfterValidator(_schedule)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
