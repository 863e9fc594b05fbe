"""A small URL shortener: create, redirect, list."""
