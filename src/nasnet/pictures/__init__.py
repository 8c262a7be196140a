"""Pictures: where they come from, how they are decoded, and which pixels reach the network.

It never asks for weights or an engine.
"""
