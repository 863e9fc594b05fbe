"""Takes jobs from a table, one at a time, and records when each began and ended."""

import os
import signal
import threading
import time

import psycopg

from probe.behaviour import KIND

if KIND == "worker crashes":
    raise RuntimeError("broken on purpose: worker")

TAKE = """
update jobs set began = now(), runs = runs + 1 where id = (
  select id from jobs where began is null order by id limit 1 for update skip locked)
returning id, seconds
"""
stopping = threading.Event()


def main() -> None:
    """Work until SIGTERM; finish the current job first."""
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        while not stopping.is_set():
            job = connection.execute(TAKE).fetchone()
            if job is None:
                stopping.wait(0.2)
                continue
            time.sleep(job[1])
            connection.execute("update jobs set ended = now() where id = %s", (job[0],))


if __name__ == "__main__":
    main()
