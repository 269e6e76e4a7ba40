"""Figures, drawn with matplotlib: ``draw_*`` for files and notebooks, ``page_charts`` for the report.

``style`` holds palette and look; ``lines`` and ``intervals`` draw on any axes; the other modules make one figure each.
Matplotlib is imported when a figure is drawn.
"""
