"""As ``jax_vmap``, but with the validation losses of every epoch, which a path has too."""

from __future__ import annotations

from benchmarks.rivals import jax_vmap

if __name__ == "__main__":
    jax_vmap.main("jax_curves", curves=True)
