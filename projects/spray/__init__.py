"""SpRAy (arXiv:1902.10178): which strategies a classifier has for a class, from the clusters of its relevance maps."""
