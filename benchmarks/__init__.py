"""Measurements, and the program that writes their numbers into the documents."""
