"""The server's programs, as far as releases need them: systemd, nginx, PostgreSQL, its disks."""
