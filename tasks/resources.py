"""Resource limits of apps, so that none starves the others or PostgreSQL."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, slices
from operations.files import Folder
from operations.machine import Machine, machine
from operations.templates import template
from settings import VM
from settings.app import App
from tasks.apps import RESERVED, workers_of

UNITS = "etc/systemd/system"
MIB = 1024 * 1024
MIN_FOR_APPS = 0.6  # minimum share of a small server's memory for apps
MAX_RESERVED = 0.25  # maximum share of the memory reserved for the system
TASKS_PER_WORKER = 128  # two releases, each with 40 threads of AnyIO and some of libraries


@deploy("Resources")
def resources() -> None:
    """Limit all apps, because each limit depends on the others; no change needs a restart."""
    vm: VM = host.data.vm
    here = machine(host)
    reserved = min(RESERVED, int(here.memory * MAX_RESERVED))
    of_apps = _limits_of_apps(vm, here)
    files.install(
        name="Install the resource limits of apps",
        entries=[
            Folder(f"/{UNITS}/system.slice.d"),
            template(f"{UNITS}/system.slice.d/onebox.conf", memory=reserved * MIB),
            template(f"{UNITS}/onebox.slice", memory=for_apps(here) * MIB),
            *(
                template(f"{UNITS}/SLICE.slice", app=app, limits=of_apps[app.slice])
                for app in vm.apps
            ),
        ],
    )
    slices.apply_limits(
        name="Apply the resource limits of apps",
        limits={
            "system.slice": {"MemoryLow": str(reserved * MIB)},
            "onebox.slice": {"MemoryMax": str(for_apps(here) * MIB)},
            **of_apps,
        },
    )


def _limits_of_apps(vm: VM, machine: Machine) -> dict[str, dict[str, str]]:
    return {
        app.slice: {
            "MemoryMax": str(memory * MIB),
            "TasksMax": str(tasks(app, machine)),
            "CPUWeight": str(app.resources.cpu_weight),
            "IOWeight": str(app.resources.io_weight),
        }
        for app, memory in zip(vm.apps, memories(vm, machine), strict=True)
    }


def for_apps(machine: Machine) -> int:
    """Return the memory limit of all apps together, in MiB."""
    return max(machine.memory - RESERVED, int(machine.memory * MIN_FOR_APPS))


def memories(vm: VM, machine: Machine) -> list[int]:
    """Return the memory limit of each app, in MiB: the setting, or all that the others don't need
    for one release each, which is at least an equal share."""
    total = for_apps(machine)
    needs = [min(_need(app, machine), total // len(vm.apps)) for app in vm.apps]
    return [
        app.resources.memory or total - sum(needs) + need
        for app, need in zip(vm.apps, needs, strict=True)
    ]


def tasks(app: App, machine: Machine) -> int:
    """Return an app's maximum of processes and threads, which grows with its workers."""
    return max(app.resources.tasks, TASKS_PER_WORKER * workers_of(app, machine))


def _need(app: App, machine: Machine) -> int:
    return (workers_of(app, machine) + len(app.processes)) * app.web.worker_memory
