"""``python -m rbridge_tasks`` is ``rbridge``."""

from rbridge_tasks.cli import main

main()
