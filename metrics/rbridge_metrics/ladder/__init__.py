"""Forecasts from a ladder of small models: laws, curves, backtest and intervals; arrays in, arrays out."""
