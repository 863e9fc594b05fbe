"""PostgreSQL: the cluster's settings, roles and their rights, databases and their owners."""
