"""The commands: argument parsing and the readable story of each."""
