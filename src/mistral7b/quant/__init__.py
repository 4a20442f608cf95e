"""Quantised weight formats and their packed layouts; calibration lives higher."""
