"""Faces in moving pictures: tracks, steadiness, streams, files. Only sdk.enhancer and the commands import it."""
