"""Log score tables to dashboards: ``histories`` holds what is logged, ``log`` brings a dashboard up to date."""
