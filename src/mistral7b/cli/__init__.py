"""The command line, one file per group of verbs; it parses, calls and prints, and holds no logic."""
