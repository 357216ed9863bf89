"""Rate-distortion decisions as JAX functions: `batches.py` gathers tensors, `quantizers.py` decides, by loops over
weights in `greedy.py` and `trellis.py`; `presets.py` chooses starting states; `contexts.py` is what they share.
"""
