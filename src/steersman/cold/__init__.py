"""The cold start: from what a team has (old systems, logs, a few seeds, a stronger model) to a first data set."""
