"""Scores of training runs in the dashboards that teams already have; ``histories`` says what is logged, ``log`` how."""
