"""The server's programs that releases use: systemd, nginx, PostgreSQL; its disks and memory."""
