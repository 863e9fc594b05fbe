"""pyinfra operations where pyinfra's own are not atomic, not idempotent or not private enough."""
