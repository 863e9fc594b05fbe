"""Exit codes of pyinfra, fab and onebox-release; docs/deploys.md describes them.

Those on the server are in `onebox_release/errors.py`.
"""

FAILED, DRIFT, LOCKED, REFUSED = 1, 2, 3, 4
