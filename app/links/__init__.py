"""A small URL shortener: accounts, links, clicks."""
