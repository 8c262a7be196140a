"""The search for cells: spaces, strategies, statistics, and the report of a run."""
