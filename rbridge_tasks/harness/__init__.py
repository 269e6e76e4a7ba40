"""Every contact with lm-eval's internals: our task folder, metrics, request type, standard errors, task classes.

It serves the versions of lm-eval that ``make test-lm-eval`` installs. ``lm_eval_versions`` holds what differs between
them, ``trial`` is what ``rbridge doctor`` runs to find out whether the installed version is served.
"""
