"""One folder a published system; projects never import each other, what two of them need moves to common or kernels."""
