"""Training: from scratch by a recipe, fine-tuning, distillation, scores and reports.

Importing this package imports no torch; the files in it do.
"""
