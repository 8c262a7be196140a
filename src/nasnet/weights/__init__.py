"""Weights: where they come from, what they are called, and how every published file is read.

Nothing here computes a vector; it imports no framework and no picture code.
"""
