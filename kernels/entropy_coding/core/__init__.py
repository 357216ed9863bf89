"""Everything compiled for the CPU: binarisation, contexts, the arithmetic coder, rates, and decisions by them.

Nothing here checks its arguments: the floor above does. Functions take what they fill and what they need as room, and
travel through registers as plain integers, so their arguments are more than the house's eight.
"""
