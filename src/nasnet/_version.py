"""The version, in one place: the package index, outputs and the command line read it here.

It imports nothing, so that build tools can read it as text.
"""

__version__ = "0.1.0"
