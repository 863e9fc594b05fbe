"""PostgreSQL: the cluster's settings, roles and their privileges, databases and their owners."""
