"""What each app may take of the server, so that it starves neither the others nor PostgreSQL."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, slices
from operations.files import Folder
from operations.machine import Machine, machine
from operations.templates import template
from settings import VM
from settings.app import App
from tasks.apps import RESERVED, serving

UNITS = "etc/systemd/system"
MIB = 1024 * 1024
SMALLEST = 0.6  # share of a small server's memory that apps may take at least
LOW = 0.25  # share of the memory that is kept for the system at most
TASKS_PER_WORKER = 128  # two releases, each with 40 threads of AnyIO's and some of a library's


@deploy("Limits")
def limits() -> None:
    """Bound all apps, for what one may take depends on the others. A change needs no restart."""
    vm: VM = host.data.vm
    here = machine(host)
    reserved = min(RESERVED, int(here.memory * LOW))
    bounds = {
        app.slice: {
            "MemoryMax": memory * MIB,
            "TasksMax": tasks(app, here),
            "CPUWeight": app.resources.cpu_weight,
            "IOWeight": app.resources.io_weight,
        }
        for app, memory in zip(vm.apps, memories(vm, here), strict=True)
    }
    files.place(
        name="Describe what each app may take",
        things=[
            Folder(f"/{UNITS}/system.slice.d"),
            template(f"{UNITS}/system.slice.d/onebox.conf", memory=reserved * MIB),
            template(f"{UNITS}/onebox.slice", memory=for_apps(here) * MIB),
            *(
                template(f"{UNITS}/SLICE.slice", app=app, limits=bounds[app.slice])
                for app in vm.apps
            ),
        ],
    )
    all_bounds = {
        "system.slice": {"MemoryLow": reserved * MIB},
        "onebox.slice": {"MemoryMax": for_apps(here) * MIB},
        **bounds,
    }
    slices.bounded(
        name="Apply what each app may take",
        limits={
            unit: {name: str(value) for name, value in values.items()}
            for unit, values in all_bounds.items()
        },
    )


def for_apps(machine: Machine) -> int:
    """Return the MiB that all apps together may take."""
    return max(machine.memory - RESERVED, int(machine.memory * SMALLEST))


def memories(vm: VM, machine: Machine) -> list[int]:
    """Return the MiB that each app may take: what is set, or all but what the others need for one
    release each, and so a fair share at least."""
    total = for_apps(machine)
    needs = [min(_need(app, machine), total // len(vm.apps)) for app in vm.apps]
    return [
        app.resources.memory or total - sum(needs) + need
        for app, need in zip(vm.apps, needs, strict=True)
    ]


def tasks(app: App, machine: Machine) -> int:
    """Return how many processes and threads an app may have: more where it has many workers."""
    return max(app.resources.tasks, TASKS_PER_WORKER * serving(app, machine))


def _need(app: App, machine: Machine) -> int:
    return (serving(app, machine) + len(app.processes)) * app.web.worker_memory
