"""Whether a server can take a deploy: what is seen of it, and what stands in the way."""
