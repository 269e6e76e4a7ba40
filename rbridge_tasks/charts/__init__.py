"""Figures: one module a figure. Matplotlib is imported when one is drawn."""
