"""The compiled core of the decoder."""
