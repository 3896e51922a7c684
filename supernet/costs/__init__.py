"""What an architecture costs: one (L, K) table a cost."""
