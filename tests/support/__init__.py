"""What several test modules share; nothing here is a test."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
