"""What settings may hold, and how a mistake in them is told."""
