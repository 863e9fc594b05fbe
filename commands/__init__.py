"""What a person does by hand; fabfile.py lists it."""
