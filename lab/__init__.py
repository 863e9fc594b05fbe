"""A throwaway Debian server on this machine, as bare as a fresh cloud VM."""
