"""How far a prompt favours each of several adapters over the others."""

import torch
from torch import Tensor


def relevance_of(similarities: Tensor) -> Tensor:
    """Return how far each adapter leads all others in the part where it does most, (n,).

    `similarities` (parts, n) are the cosines of a prompt's parts with adapters' embeddings. One
    without others leads by its similarity. NaN, an adapter that is not known, stays NaN and is
    nobody's rival.
    """
    rivals = torch.where(similarities.isnan(), -torch.inf, similarities)
    nearest = rivals.topk(min(2, rivals.shape[1]), 1).values
    best_other = torch.where(rivals == nearest[:, :1], nearest[:, -1:], nearest[:, :1])
    if rivals.shape[1] == 1:
        best_other = torch.full_like(best_other, -torch.inf)
    best_other[best_other.isinf()] = 0
    return (similarities - best_other).amax(0)
