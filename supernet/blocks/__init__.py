"""Candidate operations, and the weights that those of a layer share."""
