"""One request to an analyzer: what is explained, and what of the outputs the explanation starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..arguments import PyTree, plain
from .neurons import target_of


@dataclasses.dataclass(frozen=True)
class Call:
    """One request to an analyzer; see `Analyzer.__call__`."""

    fn: Callable
    params: PyTree
    x: PyTree
    target: Any
    mode: str | None
    key: Any

    def target_from(self, head: str, clean: bool = False) -> Any:
        """Returns the target of attributors, for a start of this kind; `clean`: by the outputs of x itself."""
        outputs = (lambda: self._leaf(self._outputs(self.x))) if clean else None
        return target_of(self.target, self.mode, head, self.shape, outputs)

    def shape(self) -> jax.ShapeDtypeStruct:
        """Returns shape and dtype of the outputs."""
        return self._leaf(jax.eval_shape(self._outputs, jax.tree.map(jnp.asarray, self.x)))

    def _outputs(self, x):
        return plain(self.fn)(self.params, x)

    @staticmethod
    def _leaf(tree):
        leaves = jax.tree.leaves(tree)
        if len(leaves) != 1:
            raise ValueError(f"fn returns {len(leaves)} arrays; expected one: wrap it so that it returns one.")
        return leaves[0]
