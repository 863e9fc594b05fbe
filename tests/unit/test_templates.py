"""Templates as they land on the server: the lines that matter, and quoting."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jinja2 import UndefinedError

from operations import templates
from operations.nginx import Uploads, above
from operations.templates import env_quote, render, target, template, unit_quote
from settings import VM
from settings.app import App, Process, Sandbox, Static, Timer
from tests.unit.inventories import a_vm, an_app, read

UNITS = "etc/systemd/system"
SITE = "etc/onebox/nginx/sites/NAME.conf"
WHOLE = {"addresses": ["", "[::]:"], "curves": "X25519", "secret": "token"}
JSON = {"etc/onebox/NAME.json.j2", "etc/onebox/checks/settings.json.j2"}  # it has no comments
VALUES = [
    "plain",
    "",
    " two  spaces ",
    'a "quoted" word',
    "it's",
    "back\\slash",
    "ends in a back\\",
    "\\n is not a line break",
    "$HOME ${HOME} $$ $(id) `id`",
    "# no comment ; no end",
    "100% %i %%",
    "ünïcödé ✓ 日本",
    "a=b&c=d",
    "tab\tinside",
    '\\"$`',
]


@pytest.fixture
def vm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> VM:
    monkeypatch.setenv("LINKS_STRIPE_KEY", "a$b")
    return read(
        folder,
        a_vm(
            an_app(
                domains=["links.example.com", "www.example.com"],
                migrate='alembic -x note="100%" upgrade head',
                secrets=["STRIPE_KEY"],
                env={"COLOUR": "dark blue"},
                start_timeout=90,
                max_body=25,
                web={
                    "timeout": 21,
                    "graceful_timeout": 22,
                    "keepalive": 23,
                    "max_requests": 24,
                    "max_requests_jitter": 25,
                    "log_level": "warning",
                },
            ),
            journal=600,
            postgresql={"max_connections": 60, "shared_buffers": 256},
        ),
    )


@pytest.fixture
def app(vm: VM) -> App:
    return vm.apps[0]


@pytest.fixture
def site(app: App) -> Callable[..., list[str]]:
    """Return a function that renders the app's site to its stripped lines."""

    def make(**changes: Any) -> list[str]:
        values = {
            "addresses": ["", "[::]:"],
            "http2_directive": True,
            "certificate": "/etc/letsencrypt/live/links",
            "webroot": "/var/lib/onebox/acme",
            "folders": changes.get("app", app).static,
            "untrusted_headers": ["Remote-User"],
            "uploads": Uploads.of(changes.get("app", app).max_body),
        }
        return lines(render(SITE, **{"app": app, "domains": app.domains, **values, **changes}))

    return make


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_a_template_fails_without_a_value_that_it_uses(app: App) -> None:
    with pytest.raises(UndefinedError, match="'webroot' is undefined"):
        render(SITE, app=app, addresses=[], certificate=None, domains=[], http2_directive=True)


@pytest.mark.parametrize(
    "path", sorted(str(p.relative_to(templates.FOLDER)) for p in templates.FOLDER.rglob("*.j2"))
)
def test_every_template_names_onebox(path: str) -> None:
    text = (templates.FOLDER / path).read_text()
    assert text.endswith("\n")
    if path not in {"sandbox.j2", *JSON}:
        assert "Made by onebox" in "".join(text.splitlines()[:2])


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("etc/NAME/app.env", "etc/links/app.env"),
        (f"{UNITS}/NAME-web@.service", f"{UNITS}/links-web@.service"),
        (SITE, "etc/onebox/nginx/sites/links.conf"),
        ("etc/apt/apt.conf.d/99zz-onebox", "etc/apt/apt.conf.d/99zz-onebox"),
    ],
)
def test_the_path_of_a_template_is_its_target(app: App, path: str, there: str) -> None:
    assert target(path, app=app) == there


def test_the_version_of_postgresql_is_put_into_a_path() -> None:
    path = "etc/postgresql/VERSION/main/conf.d/onebox.conf"
    assert target(path, version="17") == "etc/postgresql/17/main/conf.d/onebox.conf"


def test_a_template_is_a_file_of_root() -> None:
    file = template("etc/letsencrypt/renewal-hooks/deploy/onebox", mode="755")
    assert (file.path, file.mode, file.owner) == (
        "/etc/letsencrypt/renewal-hooks/deploy/onebox",
        "755",
        "root:root",
    )
    assert lines(file.content)[0] == "#!/bin/sh"


def test_a_site_without_a_certificate_is_for_the_server_itself(
    site: Callable[..., list[str]],
) -> None:
    text = site(certificate=None)
    assert text.count("server {") == 1
    assert "listen 80;" in text
    assert "root /var/lib/onebox/acme;" in text
    assert "proxy_pass http://links$kept;" in text
    assert not [line for line in text if "443" in line or "https" in line or "ssl" in line]
    assert text[text.index("if ($unencrypted) {") + 1] == "return 503;"
    assert "error_page 503 @no_certificate;" in text
    assert "Strict-Transport-Security" not in str(text)


def test_a_site_may_be_served_over_http_where_that_is_set(
    site: Callable[..., list[str]], app: App
) -> None:
    text = site(certificate=None, app=app.model_copy(update={"allow_http": True}))
    assert "unencrypted" not in str(text)
    assert "error_page 503 /.onebox/maintenance.html;" in text
    assert "unencrypted" not in str(site()), "there is a certificate"


def test_the_page_has_the_headers_of_every_answer(site: Callable[..., list[str]]) -> None:
    text = site()
    start = text.index("location = /.onebox/maintenance.html {")
    page = text[start : text.index("}", start)]
    assert 'add_header Strict-Transport-Security "max-age=63072000" always;' in page
    assert "add_header X-Request-ID $request_id always;" in page


def test_a_site_with_a_certificate_sends_http_to_https(site: Callable[..., list[str]]) -> None:
    text = site()
    http, https = (i for i, line in enumerate(text) if line == "server {")
    assert "return 308 https://$host$request_uri;" in text[http:https]
    assert "root /var/lib/onebox/acme;" in text[http:https]  # renewals come over HTTP
    assert "proxy_pass http://links$kept;" not in text[http:https]
    assert "ssl_certificate /etc/letsencrypt/live/links/fullchain.pem;" in text[https:]
    assert "ssl_certificate_key /etc/letsencrypt/live/links/privkey.pem;" in text[https:]
    assert 'add_header Strict-Transport-Security "max-age=63072000" always;' in text[https:]
    assert "proxy_pass http://links$kept;" in text[https:]


def test_clients_get_the_maintenance_page_and_the_server_gets_the_app(
    site: Callable[..., list[str]],
) -> None:
    text = site()
    test = text.index("if (-f $maintenance/links.maintenance) {")
    assert text[test - 1 : test + 2] == ["location / {", text[test], "return 503;"]
    assert "error_page 503 /.onebox/maintenance.html;" in text
    whole = lines(render("etc/onebox/nginx/nginx.conf", **WHOLE))
    at = whole.index("geo $elsewhere {")
    assert whole[at + 1 : at + 4] == ["default 1;", "127.0.0.1 '';", "::1 '';"]
    at = whole.index("map $elsewhere $maintenance {")
    assert whole[at + 1 : at + 3] == ["default /nowhere;", "1 /var/lib/onebox;"]


def test_a_site_answers_to_all_domains_of_its_app(site: Callable[..., list[str]]) -> None:
    assert site().count("server_name links.example.com www.example.com;") == 2


def test_http2_is_a_directive_from_debian_13_on(site: Callable[..., list[str]]) -> None:
    assert "http2 on;" in site(http2_directive=True)
    assert "listen 443 ssl;" in site(http2_directive=True)
    assert "http2 on;" not in site(http2_directive=False)
    assert "listen 443 ssl http2;" in site(http2_directive=False)
    assert "listen [::]:443 ssl http2;" in site(http2_directive=False)


def test_a_site_listens_on_ipv6_where_the_server_has_it(site: Callable[..., list[str]]) -> None:
    assert {"listen [::]:80;", "listen [::]:443 ssl;"} <= set(site())
    assert not [line for line in site(addresses=[""]) if "[::]" in line]


def test_forwarded_headers_are_set_and_never_appended(site: Callable[..., list[str]]) -> None:
    text = site()
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in text
    assert "proxy_set_header X-Forwarded-Proto $scheme;" in text
    assert "proxy_set_header X-Forwarded-Host $host;" in text
    assert "proxy_set_header X-Forwarded-Port $server_port;" in text
    assert 'proxy_set_header Remote-User "";' in text
    assert "proxy_set_header X-Real-IP $remote_addr;" in text
    assert 'proxy_set_header Forwarded "";' in text
    assert "$proxy_add_x_forwarded_for" not in " ".join(text)


def test_each_answer_has_the_id_that_the_log_has(site: Callable[..., list[str]]) -> None:
    text = site()
    assert "proxy_set_header X-Request-ID $request_id;" in text
    assert "add_header X-Request-ID $request_id always;" in text
    assert "proxy_hide_header X-Request-ID;" in text, "the app's own would be a second"


def test_connections_to_a_release_are_kept_for_a_second_and_never_for_a_post(
    site: Callable[..., list[str]],
) -> None:
    text = [line for line in site() if not line.startswith("#")]
    server = "server unix:/srv/links/current/run/web.sock fail_timeout=0;"
    kept = ["keepalive 16;", "keepalive_time 1s;", "keepalive_timeout 1s;"]
    assert text[:3] == ["upstream links {", server, "}"]
    assert text[3:9] == ["upstream links_kept {", server, *kept, "}"]
    assert "proxy_pass http://links$kept;" in text
    nginx = lines(render("etc/onebox/nginx/nginx.conf", **WHOLE))
    start = nginx.index('map "$request_method $upgrade" $kept {')
    assert nginx[start + 1 : start + 5] == ["default '';", "'GET ' _kept;", "'HEAD ' _kept;", "}"]


def test_a_body_may_be_as_big_as_set(site: Callable[..., list[str]]) -> None:
    assert "client_max_body_size 25m;" in site()


@pytest.mark.parametrize(
    ("max_body", "client", "all_"), [(1, 32, 256), (10, 32, 204), (100, 4, 20), (1024, 4, 16)]
)
def test_bodies_that_wait_in_files_are_bounded(max_body: int, client: int, all_: int) -> None:
    uploads = Uploads.of(max_body)
    assert (uploads.client, uploads.all) == (client, all_)


@pytest.mark.parametrize("most", [1, 9, 99, 1_048_576, 26_214_400])
def test_a_length_above_the_limit_is_found_by_its_digits(most: int) -> None:
    found = re.compile(above(most))
    numbers = [*range(200), most - 1, most, most + 1, 2 * most, 10 * most, 10**30]
    assert all(bool(found.search(str(n))) is (n > most) for n in numbers)
    assert found.search(f"000{most + 1}")


def test_limits_are_the_apps(site: Callable[..., list[str]], app: App) -> None:
    text = site()
    assert "limit_req_zone $client zone=links:5m rate=500r/s;" in text
    assert text.count("limit_req zone=links burst=1000 nodelay;") == 2
    assert text.count("limit_conn links_connections 1000;") == 1
    without = site(app=app.model_copy(update={"limits": None}))
    assert not [line for line in without if "limit_req" in line or "$client" in line]
    assert "limit_conn links_uploads 81;" in without, "files are bounded all the same"


def test_nginx_gives_no_answer_for_a_name_that_no_app_has() -> None:
    text = lines(render("etc/onebox/nginx/nginx.conf", **WHOLE))
    start = text.index("listen 80 default_server;")
    assert text[start : start + 7] == [
        "listen 80 default_server;",
        "listen 443 ssl default_server;",
        "listen [::]:80 default_server;",
        "listen [::]:443 ssl default_server;",
        "ssl_reject_handshake on;",
        "access_log off;",
        "return 444;",
    ]
    assert {"server_tokens off;", "ssl_protocols TLSv1.2 TLSv1.3;"} <= set(text)
    assert "ssl_ecdh_curve X25519;" in text


def test_the_web_service_is_started_again_whatever_ends_it(app: App) -> None:
    text = lines(render(f"{UNITS}/NAME-web@.service", app=app))
    assert text.index("StartLimitIntervalSec=0") < text.index("[Service]")
    release = "/srv/links/releases/%i"
    gunicorn = f"{release}/venv/bin/python -m gunicorn --config {release}/gunicorn.conf.py"
    assert {
        "Type=exec",
        f'ExecStart={gunicorn} "links.main:app"',
        "Restart=always",
        "RestartSec=2",
        "KillMode=mixed",
        "TimeoutStartSec=450",
        "TimeoutStopSec=32",
        "User=links",
        "StateDirectory=links",
        "StateDirectoryMode=0700",
    } <= set(text[text.index("[Service]") :])


@pytest.mark.parametrize("unit", ["NAME-web@.service", "NAME-migrate@.service"])
@pytest.mark.parametrize(
    "line",
    [
        "Group=links",
        "WorkingDirectory=/srv/links/releases/%i/app",
        "EnvironmentFile=/etc/links/releases/%i.env",
        "EnvironmentFile=/etc/links/generated.env",
        "EnvironmentFile=/etc/links/secrets.env",
        "UMask=0077",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "TemporaryFileSystem=/tmp:mode=1777,nodev,nosuid,size=10%",
        "TemporaryFileSystem=/dev/shm:mode=1777,nodev,nosuid,noexec,size=25%",
        "BindPaths=/var/lib/onebox/links/temporary:/var/tmp",
        "Slice=onebox-links.slice",
        "OOMScoreAdjust=300",
        "SystemCallFilter=~io_uring_setup io_uring_enter io_uring_register userfaultfd",
        "PrivateDevices=yes",
        "ProtectKernelTunables=yes",
        "ProtectProc=invisible",
        "CapabilityBoundingSet=",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
    ],
)
def test_every_process_of_an_app_is_confined(app: App, unit: str, line: str) -> None:
    text = lines(render(f"{UNITS}/{unit}", app=app))
    assert line in text[text.index("[Service]") :]


def test_link_local_addresses_are_blocked_unless_a_setting_allows_them(app: App) -> None:
    asking = app.model_copy(update={"name": "asks", "sandbox": Sandbox(link_local=True)})
    unit = lines(render(f"{UNITS}/onebox-link-local.service", apps=[app, asking]))
    for run in ("ExecStart", "ExecReload"):
        nft = f"{run}=-/usr/sbin/nft"
        of = "element inet onebox_link_local apps"
        assert f"{nft} add {of} {{ links, links-migrate }}" in unit
        assert f"{nft} delete {of} {{ asks, asks-migrate }}" in unit
        assert {f"{nft} add {of} {{ {name}-build }}" for name in ("links", "asks")} <= {*unit}


@pytest.fixture
def queue() -> Process:
    command = 'python -m links.queue --share "100%"'
    return Process(name="queue", command=command, stop_signal="SIGINT", stop_timeout=7)


def test_a_process_beside_web_starts_again_and_gets_its_time_to_stop(
    app: App, queue: Process
) -> None:
    text = lines(render(f"{UNITS}/NAME-PROCESS@.service", app=app, process=queue))
    assert "PartOf=links@%i.target" in text
    assert {
        'ExecStart=/bin/sh -c "exec python -m links.queue --share \\"100%%\\""',
        "Restart=always",
        "RestartSec=2",
        "KillMode=mixed",
        "KillSignal=SIGINT",
        "TimeoutStopSec=7",
        "User=links",
        "StateDirectory=links",
    } <= set(text[text.index("[Service]") :])


def test_a_process_beside_web_is_confined_as_web_is(app: App, queue: Process) -> None:
    def sandbox(unit: str) -> list[str]:
        text = lines(render(f"{UNITS}/{unit}", app=app, process=queue))
        return text[text.index("Group=links") :]

    assert sandbox("NAME-PROCESS@.service") == sandbox("NAME-web@.service")


def test_a_sandbox_opens_one_thing_for_each_setting(app: App) -> None:
    def confined(**opened: bool) -> set[str]:
        changed = app.model_copy(update={"sandbox": Sandbox(**opened)})
        return set(lines(render(f"{UNITS}/NAME-web@.service", app=changed)))

    closed = confined()
    families = "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"
    opened = {
        "jit": ({"MemoryDenyWriteExecute=yes"}, set()),
        "proc": ({"ProcSubset=pid"}, set()),
        "listen": ({"SocketBindDeny=any"}, set()),
        "netlink": ({families}, {f"{families} AF_NETLINK"}),
        "priorities": (
            {"SystemCallFilter=~@privileged @resources"},
            {"SystemCallFilter=~@privileged"},
        ),
    }
    # The firewall does the rest, by the user that sends.
    assert opened.keys() == Sandbox.model_fields.keys() - {"link_local"}
    for name, (gone, come) in opened.items():
        now = confined(**{name: True})
        assert (closed - now, now - closed) == (gone, come)


def test_a_factory_reaches_gunicorn_as_one_argument(app: App) -> None:
    made = app.model_copy(update={"module": "links.main:make(\"a b\", '100%$')"})
    text = render(f"{UNITS}/NAME-web@.service", app=made)
    assert 'gunicorn.conf.py "links.main:make(\\"a b\\", \'100%%$$\')"\n' in text


def test_nginx_serves_folders_through_the_pointer(site: Callable[..., list[str]], app: App) -> None:
    folders = [
        Static(path="/static/", folder="a", max_age=60),
        Static(path="/media", folder="b/c"),
    ]
    served = app.model_copy(update={"static": folders})
    text = site(app=served)
    first, second = text.index("location ^~ /static/ {"), text.index("location ^~ /media/ {")
    for line, age in ((first, 60), (second, 3600)):
        assert text[line + 1 : line + 5] == [
            "root /srv/links/current/static;",
            f"expires {age}s;",
            "try_files $uri @app;",
            "}",
        ]
    asked, front = text.index("location @app {"), text.index("location / {", second)
    assert text[asked + 1 : front - 1] == text[front + 1 : -2]
    named = render("etc/NAME/static", app=served).splitlines()
    assert named[1:] == ["static a", "media b/c"]


def test_a_target_brings_all_processes_of_a_release(app: App, queue: Process) -> None:
    def wants(app: App) -> list[str]:
        text = lines(render(f"{UNITS}/NAME@.target", app=app))
        [wanted] = [line for line in text if line.startswith("Wants=")]
        return wanted.removeprefix("Wants=").split()

    assert wants(app) == ["links-web@%i.service"]
    more = app.model_copy(update={"processes": [queue, Process(name="clock", command="x")]})
    assert wants(more) == [
        "links-web@%i.service", "links-queue@%i.service", "links-clock@%i.service",
    ]  # fmt: skip


def test_secrets_win_over_what_was_generated_and_a_releases_own_over_all(app: App) -> None:
    text = lines(render(f"{UNITS}/NAME-web@.service", app=app))
    files = [line.rpartition("/")[2] for line in text if line.startswith("EnvironmentFile=")]
    assert files == ["generated.env", "secrets.env", "%i.env"]


def test_a_migration_runs_as_the_owner_of_the_schema(app: App) -> None:
    text = lines(render(f"{UNITS}/NAME-migrate@.service", app=app))
    assert "User=links-migrate" in text
    assert 'ExecStart=/bin/sh -c "alembic -x note=\\"100%%\\" upgrade head"' in text
    assert text[-1] == "EnvironmentFile=/etc/links/migrate.env"  # the last one wins


def test_only_nginx_may_use_the_socket(app: App) -> None:
    text = lines(render(f"{UNITS}/NAME-web@.socket", app=app))
    assert {
        "ListenStream=/run/links/%i/web.sock",
        "SocketUser=root",
        "SocketGroup=www-data",
        "SocketMode=0660",
    } <= set(text)


def test_a_release_is_one_target(app: App) -> None:
    assert "Wants=links-web@%i.service" in lines(render(f"{UNITS}/NAME@.target", app=app))
    for unit in ("NAME-web@.socket", "NAME-web@.service"):
        assert "PartOf=links@%i.target" in lines(render(f"{UNITS}/{unit}", app=app))


def test_the_live_release_is_started_at_boot(app: App) -> None:
    text = lines(render(f"{UNITS}/NAME.service", app=app))
    assert "ExecStart=/usr/local/bin/onebox-release recover links" in text
    assert text[-1] == "WantedBy=multi-user.target"


def test_the_live_release_listens_before_nginx_is_up_at_boot(app: App) -> None:
    text = lines(render(f"{UNITS}/onebox-listen-NAME.service", app=app))
    assert "Before=nginx.service links.service" in text
    assert "ConditionPathExists=/srv/links/current" in text
    assert "ConditionPathExists=!/var/lib/onebox/links.paused" in text
    [start] = [line for line in text if line.startswith("ExecStart=")]
    assert 'exec systemctl start "links-web@$${release##*/}.socket"' in start
    boot = lines(render(f"{UNITS}/NAME.service", app=app))
    assert "Wants=onebox-listen-links.service" in boot


ALONE = "X-Onebox-Alone=yes"


def test_a_process_that_must_run_alone_is_marked(app: App, queue: Process) -> None:
    text = render(f"{UNITS}/NAME-PROCESS@.service", app=app, process=queue)
    assert ALONE not in text
    marked = queue.model_copy(update={"alone": True})
    alone = lines(render(f"{UNITS}/NAME-PROCESS@.service", app=app, process=marked))
    assert alone.index(ALONE) < alone.index("[Service]")
    assert [line for line in alone if line != ALONE] == lines(text)


def test_gunicorn_is_configured_from_the_settings(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = type("UvicornWorker", (), {"CONFIG_KWARGS": {"loop": "auto"}})
    monkeypatch.setitem(sys.modules, "uvicorn_worker", SimpleNamespace(UvicornWorker=worker))
    monkeypatch.setenv("ONEBOX_RELEASE", "a-b")
    values: dict[str, Any] = {"__name__": "gunicorn_conf"}
    source = render("etc/NAME/gunicorn.conf.py", app=app, workers=3)
    exec(compile(source, "gunicorn.conf.py", "exec"), values)  # noqa: S102 - our own template
    assert {
        "workers": 3,
        "timeout": 21,
        "graceful_timeout": 22,
        "keepalive": 23,
        "max_requests": 24,
        "max_requests_jitter": 25,
        "loglevel": "warning",
        "errorlog": "-",
        "accesslog": None,
        "forwarded_allow_ips": "*",
        "control_socket_disable": True,
        "worker_tmp_dir": "/dev/shm",  # noqa: S108 - what the template says
    }.items() <= values.items()
    quiet = values["Quiet"]()
    told = [
        '%s - "WebSocket %s" [accepted]', '%s - "WebSocket %s" 403', "connection open",
        "Invalid HTTP request.", "Invalid HTTP request.", "Started server process",
    ]  # fmt: skip
    records = [logging.makeLogRecord({"msg": message}) for message in told]
    assert [quiet.filter(record) for record in records] == [False, False, False, True, False, True]
    assert {
        "loop": "auto",
        "headers": [("x-release", "a-b")],
        "server_header": False,
        "date_header": False,
        "ws_max_size": app.max_body << 20,
        "ws_max_queue": 4,
        "ws_per_message_deflate": False,
    } == values["worker_class"].CONFIG_KWARGS


@pytest.mark.parametrize("ports", [[22, 80, 443], [80, 443, 2222]])
def test_the_firewall_allows_only_the_ports(ports: list[int]) -> None:
    text = lines(render("etc/onebox/firewall.nft", ports=ports, connections=0))
    assert not [line for line in text if "ct count" in line]
    assert text[1:3] == ["table inet onebox", "delete table inet onebox"]
    assert "type filter hook input priority filter; policy drop;" in text
    assert "ct state established,related accept" in text
    assert "iif lo accept" in text
    assert "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept" in text
    assert "udp sport 67 udp dport 68 accept" in text
    assert f"tcp dport {{ {', '.join(map(str, ports))} }} accept" in text


def test_the_firewall_counts_a_clients_connections_before_it_lets_in() -> None:
    text = lines(render("etc/onebox/firewall.nft", ports=[22, 80, 443], connections=1200))
    before = text[: text.index("tcp dport { 22, 80, 443 } accept")]
    ports = "tcp dport { 80, 443 } ct state new add"
    network = "ip6 saddr & ffff:ffff:ffff::"
    assert before[-2:] == [
        f"{ports} @clients4 {{ ip saddr ct count over 1200 }} drop",
        f"{ports} @clients6 {{ {network} ct count over 1200 }} drop",
    ]


def test_sshd_accepts_keys_only() -> None:
    options = {"PasswordAuthentication": "no", "DenyGroups": "onebox-nologin"}
    text = lines(render("etc/ssh/sshd_config.d/00-onebox.conf", options=options, deployer="ci"))
    assert text[2:4] == ["PasswordAuthentication no", "DenyGroups onebox-nologin"]
    assert text[5:7] == ["Match User ci", "MaxSessions 2"]  # last: it ends with the file


def test_postgresql_listens_only_on_the_local_socket(vm: VM) -> None:
    path = "etc/postgresql/VERSION/main/conf.d/onebox.conf"
    text = lines(render(path, vm=vm, version="17", shared_buffers=256))
    assert {"listen_addresses = ''", "max_connections = 60", "shared_buffers = 256MB"} <= set(text)
    assert lines(render("etc/onebox/postgresql/pg_hba.conf"))[-1] == "local all all peer"


def test_a_new_cluster_is_utf8_with_checksums() -> None:
    text = lines(render("etc/postgresql-common/createcluster.d/onebox.conf"))
    assert text[-1] == "initdb_options = '--data-checksums --encoding=UTF8 --locale=C.UTF-8'"


def test_the_journal_is_bounded(vm: VM) -> None:
    text = lines(render("etc/systemd/journald.conf.d/onebox.conf", vm=vm))
    assert text[1:] == ["[Journal]", "Storage=persistent", "SystemMaxUse=600M"]


def test_no_upgrade_restarts_an_app_or_reboots_the_server(app: App) -> None:
    own = lines(render("etc/needrestart/conf.d/onebox-NAME.conf", app=app))
    assert "$nrconf{override_rc}->{qr(^links-)} = 0;" in own
    text = lines(render("etc/needrestart/conf.d/onebox.conf"))
    assert "$nrconf{override_rc}->{qr(^postgresql)} = 0;" in text
    apt = lines(render("etc/apt/apt.conf.d/99zz-onebox"))
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in apt


def test_a_renewal_trusts_the_ca_that_is_set() -> None:
    path = f"{UNITS}/onebox-certbot.service"
    with_ca = lines(render(path, certbot="/c/certbot", ca="/etc/onebox/acme-ca.pem"))
    assert "Environment=REQUESTS_CA_BUNDLE=/etc/onebox/acme-ca.pem" in with_ca
    assert "ExecStart=/c/certbot renew --quiet --no-random-sleep-on-renew" in with_ca
    assert "REQUESTS_CA_BUNDLE" not in render(path, certbot="/c/certbot", ca=None)


def test_the_users_of_an_app(app: App) -> None:
    assert lines(render("etc/sysusers.d/NAME.conf", app=app))[2:] == [
        "g onebox-nologin -",
        'u links - "The app links" /nonexistent /usr/sbin/nologin',
        'u links-migrate - "Migrations of links" /nonexistent /usr/sbin/nologin',
        "m links onebox-nologin",
        "m links-migrate onebox-nologin",
        "# Installs packages for its releases, in a unit that can access nothing else.",
        'u links-build - "Packages of links" /nonexistent /usr/sbin/nologin',
        "m links-build onebox-nologin",
    ]


def test_parameters_are_json(app: App) -> None:
    parameters = {"schema": 1, "data": {"domains": app.domains, "health": "/a'<>&"}}
    text = render("etc/onebox/NAME.json", parameters=parameters)
    assert json.loads(text) == parameters
    assert text.endswith("}\n")


def test_environments_are_quoted(app: App) -> None:
    assert lines(render("etc/NAME/secrets.env", app=app))[1:] == ['STRIPE_KEY="a\\$b"']
    for name in ("app", "migrate"):
        text = render(f"etc/NAME/{name}.env", app=app, environment=app.env)
        assert lines(text)[1:] == ['COLOUR="dark blue"']


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("plain", '"plain"'),
        ('"', r'"\""'),
        ("\\", r'"\\"'),
        ("$", r'"\$"'),
        ("`", r'"\`"'),
        ("a b # ; % 'é", '"a b # ; % \'é"'),
    ],
)
def test_a_value_of_an_environment_is_quoted(value: str, quoted: str) -> None:
    assert env_quote(value) == quoted


def test_what_is_quoted_reads_back_as_it_was(tmp_path: Path) -> None:
    # Within double quotes systemd unescapes the same four characters as a POSIX shell does.
    file = tmp_path / "env"
    file.write_text("".join(f"V{i}={env_quote(value)}\n" for i, value in enumerate(VALUES)))
    names = " ".join(f'"$V{i}"' for i in range(len(VALUES)))
    result = subprocess.run(
        ["sh", "-c", f". {file}; printf '%s\\0' {names}"], capture_output=True, check=True
    )
    assert result.stdout.decode().split("\0")[:-1] == VALUES


@pytest.mark.parametrize("value", VALUES)
def test_an_argument_of_a_unit_reads_back_as_it_was(value: str) -> None:
    quoted = unit_quote(value)
    assert quoted[0] == quoted[-1] == '"'
    assert read_as_systemd(quoted[1:-1]) == value


def read_as_systemd(text: str) -> str:
    """Undo what systemd undoes within quotes: C escapes, specifiers, variables."""
    pairs = {"\\\\": "\\", '\\"': '"', "%%": "%", "$$": "$"}
    read, i = "", 0
    while i < len(text):
        if text[i] in '\\%$"':
            read, i = read + pairs[text[i : i + 2]], i + 2
        else:
            read, i = read + text[i], i + 1
    return read


def test_a_timer_runs_as_the_app_and_is_confined_as_web_is(app: App) -> None:
    timer = Timer(name="report", command="echo 100%", schedule="Mon..Fri 07:30", timeout=9)
    text = lines(render(f"{UNITS}/NAME-TIMER@.service", app=app, timer=timer))
    web = lines(render(f"{UNITS}/NAME-web@.service", app=app))
    assert text[text.index("Group=links") :] == web[web.index("Group=links") :]
    assert {
        "Type=oneshot",
        'ExecStart=/bin/sh -c "echo 100%%"',
        "TimeoutStartSec=9",
        "User=links",
        "StateDirectory=links",
    } <= set(text)
    clock = lines(render(f"{UNITS}/onebox-timer-NAME-TIMER.timer", app=app, timer=timer))
    assert {"OnCalendar=Mon..Fri 07:30", "Persistent=yes"} <= set(clock)
    unit = lines(render(f"{UNITS}/onebox-timer-NAME-TIMER.service", app=app, timer=timer))
    assert "ExecStart=/usr/local/bin/onebox-release timer links report" in unit


def test_a_hook_is_confined_as_web_is_and_its_time_is_bounded(app: App) -> None:
    text = lines(render(f"{UNITS}/NAME-hook@.service", app=app))
    web = lines(render(f"{UNITS}/NAME-web@.service", app=app))
    assert text[text.index("Group=links") : -1] == web[web.index("Group=links") :]
    assert {"ExecStart=/bin/sh -c ${ONEBOX_HOOK_COMMAND}", "TimeoutStartSec=60"} <= set(text)


@pytest.mark.parametrize(("every", "boot"), [(300, 120), (10, 10)])
def test_monitoring_runs_as_often_as_set(folder: Path, every: int, boot: int) -> None:
    vm = read(folder, a_vm(checks={"every": every}))
    text = lines(render(f"{UNITS}/onebox-checks.timer", vm=vm))
    assert {f"OnBootSec={boot}", f"OnUnitActiveSec={every}"} <= set(text)


def test_monitoring_has_one_capability(vm: VM) -> None:
    text = lines(render(f"{UNITS}/onebox-checks.service", vm=vm))
    assert {
        "User=onebox-checks",
        "AmbientCapabilities=CAP_DAC_READ_SEARCH",
        "CapabilityBoundingSet=CAP_DAC_READ_SEARCH",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
    } <= set(text)
