"""Synthetic portraits: whole heads rendered as photographs, with the coefficients behind them."""
