"""Comparisons over several trainings."""
