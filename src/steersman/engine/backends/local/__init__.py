"""The fast engine: one thread that steps many sequences over one cache."""
