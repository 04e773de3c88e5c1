"""Cross entropy with the labels."""

from __future__ import annotations

from torch import Tensor, nn

from ternlab.objectives.base import ForwardPass, Term


class CrossEntropy(Term):
    """Mean cross entropy, in nats.

    Args:
        label_smoothing: fraction of the target that is spread over all classes (Szegedy et al., CVPR 2016).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def __call__(self, forward: ForwardPass) -> Tensor:
        """Return the mean over the images."""
        return nn.functional.cross_entropy(forward.logits, forward.labels, label_smoothing=self.label_smoothing)
