"""What the pipeline asks of a model's runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Embedder(Protocol):
    """A loaded network that turns an input plane into its spatial feature map."""

    @property
    def runtime(self) -> str:
        """Name and version of what computes, as results state it."""

    def embed(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features, float32 [rows, columns, channels], of an input float32 [1, 1, rows, columns].

        Raises WorkerCrashed where the runtime fails; a new process may succeed.
        """

    def close(self) -> None:
        """Release the network."""
