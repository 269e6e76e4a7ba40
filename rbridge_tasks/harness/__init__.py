"""Every contact with lm-eval's internals: our task folder, metrics, request type, standard errors, task classes.

Written against lm-eval 0.4.13. What its main branch moves is mended here and nowhere else.
"""
