"""Commands for administrators, deploys and deploy keys, and their output."""
