"""Three apps on one server: released together or alone, and isolated from each other."""

from __future__ import annotations

import resource
import shlex
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests import smuggling, wire
from tests.lab_server import PROJECT, Server

MARK = "<<<<"
ECHO = PROJECT / "tests/e2e/apps/echo"
SECRETS = {"one": "secret-of-one", "two": "secret-of-two", "three": "secret-of-three"}
SHARE = {"memory": 200, "tmp": 40, "shm": 40}  # MiB
# A lab host's systemd can't write to memory cgroups until this.
BIND_LIMITS = "mount -o remount,rw,bind /sys/fs/cgroup/memory && systemctl daemon-reexec"
GREED = """
exec 2> /dev/null
python3 -c "print(len(b'x' * (100 << 20)))"
python3 -c "print(len(b'x' * (400 << 20)))"
for i in $(seq 8); do
    (python3 -c "a = b'x' * (38 << 20); import time; time.sleep(5)"; echo ended $?) &
done
wait
for folder in /tmp /dev/shm; do head -c 60M /dev/zero > $folder/big && echo $folder; done
head -c 60M /dev/zero > /var/tmp/big && echo /var/tmp && rm /var/tmp/big
"""
# Each prints nothing if the other app, {other}, is isolated.
FILES = [
    "cat /etc/{other}/*.env /etc/{other}/releases/*",
    "ls /etc/{other} /var/lib/{other} /var/lib/onebox/{other}",
    "cat /srv/{other}/current/app/*.py /srv/{other}/releases/*/app/src/*.py",
    "ls /srv/{other}/current/app /srv/{other}/current/venv/",
    "cat /var/log/nginx/{other}.access.log /etc/letsencrypt/live/{other}/privkey.pem",
    "touch /srv/{other}/mine /run/{other}/mine /var/lib/{other}/mine && echo wrote",
]
REQUEST = "GET / HTTP/1.0\\r\\nX-Forwarded-For: 192.0.2.1\\r\\n\\r\\n"
ASKED = f"s.connect(sys.argv[1]); s.send(b'{REQUEST}'); print(s.recv(99))"
SOCKET = f'python3 -c "import socket, sys; s = socket.socket(socket.AF_UNIX); {ASKED}" {{socket}}'
DATABASE = [
    "psql -h /run/postgresql -d {other} -c 'select 1'",
    "psql -h /run/postgresql -d {other} -U {other} -c 'select 1'",
    "psql -h /run/postgresql -d {other} -U {other}-migrate -c 'select 1'",
    "psql -h /run/postgresql -d postgres -U postgres -c 'select 1'",
    "psql -h /run/postgresql -d postgres -c 'select 1'",
    "psql -h /run/postgresql -d template1 -c 'select 1'",
]
PROCESSES = [
    "cat /proc/{process}/environ /proc/{process}/maps",
    "ls /proc/{process}/fd/ /proc/{process}/root/",
    "kill -0 {process} && echo reached",
    "setpriority() {{ renice -n 19 -p {process}; }}; setpriority && echo reached",
]


@pytest.fixture(scope="module")
def three(copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A copy that serves three small apps, two of them with a database."""
    server = copy("12", "--domain=two.apps.test", "--domain=three.apps.test", settle=False)
    folder = tmp_path_factory.mktemp("apps")
    shapes: dict[str, dict[str, Any]] = {
        "one": {"resources": SHARE},
        "two": packaged_differently(folder / "two"),
        "three": {"database": "none"},
    }
    server.entry["apps"] = [
        app_settings(name, folder / name, server, **shape) for name, shape in shapes.items()
    ]
    patch = pytest.MonkeyPatch()
    for name, value in SECRETS.items():
        patch.setenv(f"{name.upper()}_TOKEN", value)
    result = server.pyinfra("-y")
    assert result.returncode == 0, result.stdout + result.stderr
    return server


def app_settings(name: str, source: Path, server: Server, **settings: Any) -> dict[str, Any]:
    """Return an app's settings; create its folder if it is missing."""
    if not source.exists():
        shutil.copytree(ECHO, source, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    return {
        "name": name,
        "source": str(source),
        "module": "echo:app",
        "domains": [f"echo.{server.domain}" if name == "one" else f"{name}.apps.test"],
        "health": "/",
        "secrets": ["TOKEN"],
        "web": {"workers": 1},
        "start_timeout": 8,
        "settle": 1,
        "watch": 1,
        **settings,
    }


def packaged_differently(folder: Path) -> dict[str, Any]:
    """Create the same app in src/, as a factory, with requirements.txt and static files."""
    (folder / "src").mkdir(parents=True)
    shutil.copy(ECHO / "requirements.txt", folder)
    factory = (
        "def create(greeting: str) -> Any:\n    os.environ['ECHO_A'] = greeting\n    return app"
    )
    (folder / "src/echo.py").write_text(f"{(ECHO / 'echo.py').read_text()}\n\n{factory}\n")
    (folder / "files/deep").mkdir(parents=True)
    (folder / "files/deep/a.css").write_text("a {}\n")
    return {
        "module": 'echo:create("hello")',
        "static": [{"path": "/static/", "folder": "files", "max_age": 60}],
        "sandbox": {"jit": True, "netlink": True, "proc": True, "priorities": True},
        "database_env": {"MY_DATABASE": "postgresql+psycopg://{role}@/{name}"},
    }


def app(server: Server, name: str) -> dict[str, Any]:
    """Return an app's settings."""
    found: dict[str, Any] = next(app for app in server.entry["apps"] if app["name"] == name)
    return found


def inside(server: Server, name: str, command: str) -> str:
    """Run a shell command in an app's sandbox; return its output."""
    domain = app(server, name)["domains"][0]
    answer: dict[str, str] = server.request("POST", "/", domain=domain, content=command).json()
    return answer["output"]


def release(server: Server, name: str) -> str:
    """Return the release that answers public requests."""
    return server.request("GET", "/", domain=app(server, name)["domains"][0]).headers["x-release"]


def change(server: Server, name: str, line: str) -> None:
    """Add a line to an app's code."""
    source = Path(app(server, name)["source"])
    code = next(source.rglob("echo.py"))
    code.write_text(f"{code.read_text()}{line}\n")


def test_three_apps_are_deployed_and_a_second_deploy_changes_nothing(three: Server) -> None:
    assert three.deploy()["success"] == []
    assert len({release(three, name) for name in SECRETS}) == 3


def test_a_factory_in_src_with_requirements_and_its_own_database_variable(three: Server) -> None:
    """The factory takes an argument."""
    domain = "two.apps.test"
    answer = three.request("GET", "/", domain=domain).json()
    assert answer["environment"] == {"ECHO_A": "hello"}
    assert inside(three, "two", "echo $MY_DATABASE") == "postgresql+psycopg://two@/two\n"
    assert inside(three, "one", "echo $MY_DATABASE") == "\n"
    migrating = three.run("cat /etc/two/migrate.env")
    assert 'MY_DATABASE="postgresql+psycopg://two-migrate@/two"' in migrating


def test_nginx_serves_files_of_the_release(three: Server) -> None:
    def get(path: str) -> tuple[int, str, str | None]:
        answer = three.request("GET", path, domain="two.apps.test")
        assert "strict-transport-security" in answer.headers
        return answer.status_code, answer.text, answer.headers.get("cache-control")

    assert get("/static/deep/a.css") == (200, "a {}\n", "max-age=60")
    # The app answers the rest, and everything in a release without such a folder.
    assert "ECHO_A" in get("/static/none.css")[1]
    three.run("mv /srv/two/current/static /srv/two/current/aside")
    assert "ECHO_A" in get("/static/deep/a.css")[1]
    three.run("mv /srv/two/current/aside /srv/two/current/static")
    assert get("/static/..%2f..%2fapp/requirements.txt")[0] in {400, 404}
    style = Path(app(three, "two")["source"]) / "files/deep/a.css"
    style.write_text("b {}\n")
    assert three.deploy()["success"] == ["Releases | Release two"]
    assert get("/static/deep/a.css")[1] == "b {}\n"
    settings = app(three, "two")
    before = settings["static"]
    settings["static"] = [{**before[0], "path": "/files"}]
    three.deploy()
    assert get("/files/deep/a.css")[1] == "b {}\n"
    assert "ECHO_A" in get("/static/deep/a.css")[1]
    three.run("onebox-release rollback two")
    assert get("/static/deep/a.css")[1] == "b {}\n", "its pages request it"
    settings["static"] = before
    assert "Releases | Release two" not in three.deploy()["success"]


def test_no_request_is_hidden_in_another(three: Server) -> None:
    """`make soak-edge` has all cases; those of the vulnerability that was found are here."""
    outcomes = smuggling.attack(three, "three.apps.test", smuggling.FOUND)
    assert [(o.case.name, o.wrong) for o in outcomes if o.wrong] == []
    assert any(o.reached for o in outcomes)


def test_a_websocket_passes(three: Server) -> None:
    domain = "three.apps.test"
    with connect(f"ws://{domain}/socket", sock=wire.connect(three, domain, "http/1.1")) as socket:
        socket.send("hello")
        assert socket.recv(timeout=5) == "hello"
    head = (
        f"GET /socket HTTP/1.1\r\nHost: {domain}\r\nConnection: keep-alive, Upgrade\r\n"
        "Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with wire.connect(three, domain, "http/1.1") as connection:
        answer = wire.exchange(connection, [head.encode()])
    assert answer.startswith(b"HTTP/1.1 101 ")


def test_a_browser_and_a_steady_client_meet_no_limit(three: Server) -> None:
    """100 files in one burst over HTTP/2, and then 50 requests a second."""
    answers = wire.burst(three, "three.apps.test", [f"/asset-{n}" for n in range(100)])
    assert answers == [200] * 100
    with httpx.Client(verify=wire.trust(three), headers={"Host": "three.apps.test"}) as client:
        for number in range(100):
            asked = time.monotonic()
            answer = client.get(
                f"https://{three.host.address}/steady-{number}",
                extensions={"sni_hostname": "three.apps.test"},
            )
            assert answer.status_code == httpx.codes.OK
            time.sleep(max(0, asked + 1 / 50 - time.monotonic()))


def test_a_flood_is_limited_and_affects_no_other_client(three: Server) -> None:
    """A client at another address, and the server itself, get responses meanwhile."""
    domain = "three.apps.test"
    with wire.flood(three, domain, "/flood", seconds=4) as flood:
        time.sleep(1)
        others = [wire.get(three.host.address6, three, domain, "/other") for _ in range(5)]
        itself = three.run("onebox-release check three && echo well")
    assert [answer.status_code for answer in others] == [200] * 5
    assert itself.endswith("well")
    assert flood.sent > 3000
    logged = three.run("grep -c 'GET /flood.* 429 ' /var/log/nginx/three.access.log; true")
    assert int(logged) < flood.sent / 20, "nginx logs one in a hundred refused requests"
    refused = wire.refused(three, domain).lower()
    assert refused.startswith("http/1.1 429 ")
    assert "retry-after: 1" in refused
    assert "strict-transport-security:" in refused
    full = "grep -c '/srv/three/.* failed (11: ' /var/log/nginx/error.log; true"
    assert three.run(full) == "0", "the app's queue was full"


def test_connections_without_a_request_are_limited_and_lock_nobody_out(three: Server) -> None:
    """An unfinished TLS handshake is no request yet: the firewall counts connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with ExitStack() as stack:
        for _ in range(1300):
            half = stack.enter_context(socket.socket())
            half.setblocking(False)  # noqa: FBT003
            half.connect_ex((str(three.host.address), 443))
        held = "ss -Htn state established '( sport = :443 )' | wc -l"
        three.wait_for(f"[ $({held}) -ge 1190 ]", 10)
        answer = wire.get(three.host.address6, three, "three.apps.test", "/other")
        assert int(three.run(held)) <= 1210
    assert answer.status_code == httpx.codes.OK


def test_log_lines_are_truncated_and_hold_no_secrets(three: Server) -> None:
    domain = "three.apps.test"
    odd = "\xff" * 7000
    headers = {"Referer": "https://x.test/?a=1&code=hidden&b=2", "User-Agent": odd}
    for path in ("/?page=2&access_token=hidden", "/?user%5Bpassword%5D=hidden", "/?SIG=hidden&x=1"):
        wire.get(three.host.address, three, domain, path, headers)
    wire.get(three.host.address, three, domain, f"/?{'x' * 7000}", {"Referer": odd})
    own = wire.own_address(three)
    mine = f"grep '^{own} ' /var/log/nginx/three.access.log | tail -n 4"
    lines = three.run(mine).splitlines()
    assert max(map(len, lines)) < 7000
    assert "hidden" not in str(lines)
    assert "?page=2&access_token=[redacted] HTTP/1.1" in lines[0]
    assert "https://x.test/?a=1&code=[redacted]" in lines[0]


def test_requests_that_nginx_rejects_before_any_limit_are_seldom_logged(three: Server) -> None:
    domain, path = "three.apps.test", f"/early-{time.monotonic_ns()}"
    requests = (
        f"TRACE {path} HTTP/1.1\r\nHost: {domain}\r\n\r\n",
        f"GET {path} HTTP/1.1\r\nHost: {domain}\r\nTransfer-Encoding: odd\r\n\r\n",
        f"GET {path} HTTP/3.0\r\nHost: {domain}\r\n\r\n",
    )
    statuses = []
    for request in requests * 30:
        with wire.connect(three, domain, tls=False) as connection:
            statuses.append(wire.exchange(connection, [request.encode()], 0.2)[9:12])
    assert set(statuses) == {b"405", b"501", b"505"}
    assert int(three.run(f"cat /var/log/nginx/*.log | grep -c {path}; true")) < 10


def test_a_large_log_is_rotated_and_still_read(three: Server) -> None:
    log = "/var/log/nginx/three.access.log"
    three.request("GET", "/first-of-all", domain="three.apps.test")
    time.sleep(0.3)
    three.run(f"yes $(printf %02000d 0) | head -c 26500000 >> {log}; echo >> {log}")
    three.run("systemctl start onebox-logrotate")
    assert int(three.run(f"stat -c %s {log}.1")) > 26_000_000
    three.request("GET", "/second-of-all", domain="three.apps.test")
    three.wait_for(f"grep -q second-of-all {log}", 5)
    lines = three.run("onebox-release logs three --since 5m --grep 'of-all HTTP'")
    assert [line.split(" HTTP")[0].rpartition("/")[2] for line in lines.splitlines()] == [
        "first-of-all", "second-of-all"
    ]  # fmt: skip
    three.run(f"rm {log}.1")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/.env", 404),
        ("/a/%2egit/config", 404),
        ("/static/.env", 404),
        ("/.well-known/.env", 404),
        ("/.well-known/security.txt", 200),
        ("/a.b/c", 200),
    ],
)
def test_hidden_files_are_not_found(three: Server, path: str, status: int) -> None:
    hidden = "/srv/two/current/static/static/.env"
    three.run(f"echo secret > {hidden}")
    answer = three.request("GET", path, domain="two.apps.test")
    three.run(f"rm {hidden}")  # else the next deploy reports an altered release
    assert answer.status_code == status
    assert "secret" not in answer.text


def test_a_site_without_a_certificate_answers_with_the_reason(
    three: Server, tmp_path: Path
) -> None:
    """The certificate authority and the server itself still reach it."""
    alone = tmp_path / "nginx_alone.py"
    alone.write_text("from tasks.nginx import nginx\n\nnginx()\n")
    url, live = f"http://{three.host.address}", "/etc/letsencrypt/live/three"
    three.run(f"mv {live} {live}.aside")
    try:
        assert three.pyinfra("-y", deploy=str(alone)).returncode == 0
        answers = [
            httpx.request(method, f"{url}/x", headers={"Host": "three.apps.test"})
            for method in ("GET", "POST")
        ]
        challenge = httpx.get(
            f"{url}/.well-known/acme-challenge/none", headers={"Host": "three.apps.test"}
        )
        itself = three.run("onebox-release check three && echo well")
    finally:
        three.run(f"mv {live}.aside {live}")
        assert three.pyinfra("-y", deploy=str(alone)).returncode == 0
    for answer in answers:
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert "no TLS certificate yet" in answer.text
        assert "x-release" not in answer.headers
    assert challenge.status_code == httpx.codes.NOT_FOUND
    assert itself.endswith("well")


def test_a_sandbox_allows_what_its_settings_name_and_nothing_else(three: Server) -> None:
    tries = {
        "jit": "import mmap; mmap.mmap(-1, 4096, prot=7)",
        "netlink": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
        "proc": "open('/proc/meminfo')",
        "priorities": "import os; os.setpriority(os.PRIO_PROCESS, 0, 1)",
        "never": "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)",
    }
    script = "".join(
        f"try:\n exec({code!r})\n print({name!r})\nexcept OSError: pass\n"
        for name, code in tries.items()
    )
    command = f"python3 - <<'EOF'\n{script}EOF"
    assert inside(three, "one", command).split() == []
    assert inside(three, "two", command).split() == ["jit", "netlink", "proc", "priorities"]


def attacks(server: Server, other: str) -> dict[str, str]:
    """Return commands that try to reach another app, by their templates."""
    live = release(server, other)
    unit = f"{other}-web@{live}.service"
    values = {
        "other": other,
        "socket": f"/run/{other}/{live}/web.sock",
        "process": server.run(f"systemctl show --value -p MainPID {unit}"),
    }
    return {text: text.format(**values) for text in [*FILES, SOCKET, *DATABASE, *PROCESSES]}


def script_of(commands: dict[str, str]) -> str:
    """Return a script that runs the commands in order, with a mark before each."""
    return "\n".join(f"echo '{MARK}'\n( {command}\n) 2>/dev/null" for command in commands.values())


def outputs(commands: dict[str, str], output: str) -> dict[str, str]:
    """Return the output of each command of a script that printed something."""
    answers = output.split(MARK)[1:]
    assert len(answers) == len(commands), "the script ran to its end"
    pairs = zip(commands, answers, strict=True)
    return {name: answer for name, answer in pairs if answer.strip()}


@pytest.mark.parametrize("name", SECRETS)
def test_no_app_reaches_another(three: Server, name: str) -> None:
    """Neither from its sandbox, nor as its plain user outside it."""
    for other in SECRETS.keys() - {name}:
        commands = attacks(three, other)
        outside = three.run(
            f"cd /; runuser -u {name} -- sh -s; true", given=f"{script_of(commands)}\n"
        )
        in_sandbox = inside(three, name, script_of(commands))
        reached = (outputs(commands, in_sandbox), outputs(commands, outside))
        assert reached == ({}, {}), f"{name} reached {other}, from its sandbox or as its user"
        visible = inside(three, name, f"ls -l /proc | grep -cw {other}; pgrep -u {other}")
        assert visible == "0\n", "the sandbox hides its processes"
        units = f"systemctl show '{other}-*' nginx -p ExecStart,Environment 2> /dev/null"
        assert "gunicorn" in three.run(units)
        assert inside(three, name, f"{units}; ls /run/dbus 2> /dev/null; true") == ""


def test_an_app_takes_no_more_memory_than_its_share(three: Server) -> None:
    def processes() -> str:
        mains = "systemctl show --value -p MainPID 'two-web@*' 'three-web@*' 'postgresql@*'"
        return three.run(f"for p in $({mains}); do echo $p; pgrep -P $p; done | sort | xargs")

    three.run(BIND_LIMITS)
    before = processes()
    greed = f"onebox-release run one -- {shlex.quote(GREED.strip())}"
    output = three.run(f"{greed} 2> /dev/null", check=False).splitlines()
    assert output[0] == str(100 << 20), "an allocation within the limit succeeds"
    assert str(400 << 20) not in output, "an allocation beyond the limit fails"
    assert "ended 137" in output, "the limit holds for all processes together"
    assert {"/tmp", "/dev/shm", "/var/tmp"} & {*output} == {"/var/tmp"}  # noqa: S108
    assert processes() == before, "no other app lost a process"
    three.wait_for("onebox-release check one", 20)


METADATA = "169.254.169.254"
ANSWERING = (
    f"ip address add {METADATA}/32 dev lo && for port in 8053 53; do systemd-run --quiet --collect"
    f" -u metadata-$port python3 -m http.server $port --bind {METADATA}; done"
)
ASK = (
    "python3 -c 'import urllib.request as u;"
    f' print(u.urlopen("http://{METADATA}:{{port}}", timeout=5).status)\' 2> /dev/null'
)


def test_an_app_reaches_no_metadata_service(three: Server) -> None:
    """Except for DNS, which has the same address on some clouds. Other users still reach it."""
    three.run(ANSWERING)
    try:
        three.wait_for(ASK.format(port=8053), 10)
        three.wait_for(ASK.format(port=53), 10)
        assert inside(three, "one", ASK.format(port=53)) == "200\n"
        assert inside(three, "one", ASK.format(port=8053)) == ""
        app(three, "one")["sandbox"] = {"link_local": True}
        assert three.deploy()["success"] == [
            "Link-local | Install the rules for link-local addresses",
            "Link-local | Block link-local addresses for apps",
            "Monitoring | Write the checksums of installed files",
        ]
        assert inside(three, "one", ASK.format(port=8053)) == "200\n"
        assert inside(three, "three", ASK.format(port=8053)) == ""
    finally:
        three.run(f"ip address del {METADATA}/32 dev lo; systemctl stop 'metadata-*'")


@pytest.mark.parametrize("name", SECRETS)
def test_an_app_reaches_what_is_its_own(three: Server, name: str) -> None:
    """The control: the same attacks succeed on the app itself."""
    itself = attacks(three, name)
    reached = outputs(itself, inside(three, name, script_of(itself)))
    expected = {FILES[2], *PROCESSES[:3]}
    if app(three, name).get("database") != "none":
        expected |= set(DATABASE[:2])
    assert expected <= reached.keys()
    assert "async def app" in reached[FILES[2]]
    assert SECRETS[name] in reached[PROCESSES[0]]
    as_root = outputs(itself, three.run(f"{script_of(itself)}\ntrue"))
    assert "200 OK" in as_root[SOCKET]
    assert as_root.keys() >= {*FILES[:5], *PROCESSES}


def test_an_app_that_takes_connections_and_locks_blocks_no_other(three: Server) -> None:
    """It uses up its connections, limits its own database, and holds a lock there."""
    psql = "cd /; runuser -u {} -- psql -Xq -h /run/postgresql -d one"
    sleeping = f"{psql.format('one')} -c 'select pg_sleep(120)' >/dev/null 2>&1 &"
    three.run(f"for i in $(seq 60); do ( {sleeping} ); done")
    three.run(f"{psql.format('one-migrate')} -c 'create table held (i int)'")
    three.run(f"{psql.format('one-migrate')} -c 'alter database one connection limit 50'")
    held = "begin; alter role current_user set work_mem = '1MB'; lock held; select pg_sleep(120)"
    three.run(f'( {psql.format("one-migrate")} -c "{held}" >/dev/null 2>&1 & )')
    count = "select count(*) from pg_stat_activity where usename = 'one'"
    asked = f'cd /; runuser -u postgres -- psql -XqAtc "{count}"'
    three.wait_for(f"[ $({asked}) = 43 ]", 20)
    before = {name: release(three, name) for name in ("two", "three")}
    for name in before:
        change(three, name, "# changed beside a greedy one")
    result = three.pyinfra("-y")
    assert result.returncode == 0, result.stdout + result.stderr
    for name in before:
        assert release(three, name) != before[name]
    assert three.run(asked) == "43"
    ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename ~ '^one'"
    three.run(f'cd /; runuser -u postgres -- psql -XqAtc "{ended}"')
    # PostgreSQL has no limit on a role's locks; monitoring reports them.
    all_locks = "select count(pg_advisory_lock(i)) from generate_series(1, 60000) i"
    three.run(
        f'( {psql.format("one")} -c "{all_locks}" -c "select pg_sleep(60)" >/dev/null 2>&1 & )'
    )
    three.wait_for(f"! ( {asked} )", 20)
    three.run("systemctl start onebox-checks")
    assert '"database:server"' in three.run("cat /var/lib/onebox-checks/state.json")
    three.run("pkill -u one psql")
    three.wait_for(asked, 20)
    three.run("systemctl start onebox-checks")
    assert '"database:server"' not in three.run("cat /var/lib/onebox-checks/state.json")
    three.run(f"{psql.format('one-migrate')} -c 'drop table held'")


def test_one_app_is_deployed_alone(three: Server) -> None:
    before = {name: release(three, name) for name in SECRETS}
    for name in ("one", "three"):
        change(three, name, "# changed")
    result = three.pyinfra("-y", "--data", "app=three")
    assert result.returncode == 0, result.stdout + result.stderr
    assert release(three, "three") != before["three"]
    assert release(three, "one") == before["one"]
    unknown = three.pyinfra("-y", "--data", "app=four")
    assert unknown.returncode == 4
    assert "has no app four; its apps: one, two, three" in unknown.stderr


def test_a_broken_app_blocks_no_other(three: Server) -> None:
    before = {name: release(three, name) for name in SECRETS}
    change(three, "one", "raise RuntimeError('broken on purpose')")
    for name in ("two", "three"):
        change(three, name, "# changed once more")
    result = three.pyinfra("-y")
    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert "Not released: one." in output
    assert "RuntimeError: broken on purpose" in output
    assert release(three, "one") == before["one"]
    for name in ("two", "three"):
        assert release(three, name) != before[name]
        assert f"https://{app(three, name)['domains'][0]}/" in output
