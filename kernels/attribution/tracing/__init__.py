"""From a JAX function to the operations that rules are for, whatever the way in which the function is written.

jaxpr: traces. canonical: one form of what can be written in several. dependence: which values hang on the example, and
where its axis is. analysis: users, signs, entrywise functions. statistics: norms. folding, affine: scales and shifts
around convolutions and products. operations: the result.
"""
