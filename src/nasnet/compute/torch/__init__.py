"""The PyTorch renderer: a plan as modules that train, compile and export (extra `torch`).

Importing this package imports no torch; the files in it do.
"""
