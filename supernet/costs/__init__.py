"""What an architecture costs: a base, a table of decisions × options, and pairs where options depend on each other."""
