"""What an image, a crop, a heatmap and a landmark are: pure NumPy, the reference of every kernel."""
