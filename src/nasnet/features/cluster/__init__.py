"""Bulk work on many machines, through Ray: shards out, parts in, each row once."""
