"""The API of the TF-Hub module: `Module`, `ModuleSpec`, signatures.

What `tensorflow_hub` 0.1 to 0.15 offered for TF1 modules; it stores no vectors and trains nothing.
"""
