"""The network and its weights for other runtimes and as other files, each proved by its reader.

It trains nothing and stores no vectors; a file appears only after it was checked.
"""
