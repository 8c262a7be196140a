"""The network as data: genotype tables become a plan, and plans are rewritten and counted.

Pure: it opens no file, sees no picture, and imports no framework.
"""
