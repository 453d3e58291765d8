import numpy as np
import pytest
import torch
from scipy import stats as reference
from scipy.optimize import isotonic_regression
from torch import Tensor

from sdsearch.ranker.training import (
    _isotonic_min_max,
    _isotonic_pooling,
    average_rank,
    pearson,
    soft_rank,
    soft_spearman,
)


def pav_soft_rank(x: np.ndarray, eps: float) -> np.ndarray:
    """The oracle: pool adjacent violators, one row."""
    order = np.argsort(-x, kind="stable")
    s = x[order] / eps
    v = isotonic_regression(s - np.arange(x.size, 0, -1), increasing=False).x
    ranks = np.empty_like(x)
    ranks[order] = s - v
    return ranks


def draw(rows: int, n: int, seed: int) -> Tensor:
    return torch.randn(rows, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n", [1, 2, 5, 64, 129])
@pytest.mark.parametrize("eps", [1e-3, 0.05, 1.0, 10.0])
def test_soft_rank_equals_pool_adjacent_violators(n: int, eps: float) -> None:
    x = draw(10, n, n)
    x[1::2] = x[1::2].round(decimals=1)  # ties
    want = np.stack([pav_soft_rank(row, eps) for row in x.numpy()])
    np.testing.assert_allclose(soft_rank(x, eps).numpy(), want, atol=1e-7)


@pytest.mark.parametrize("n", [1, 7, 64, 400])
def test_both_forms_of_isotonic_regression_agree(n: int) -> None:
    y = draw(6, n, 1 + n) - torch.arange(n) / n
    y[1::2] = y[1::2].round(decimals=1)
    torch.testing.assert_close(_isotonic_min_max(y), _isotonic_pooling(y), atol=1e-10, rtol=0)


def test_soft_ranks_keep_their_sum_and_follow_permutations() -> None:
    x = draw(4, 17, 0)
    ranks = soft_rank(x, 0.3)
    torch.testing.assert_close(ranks.sum(1), torch.full((4,), 17 * 18 / 2, dtype=x.dtype))
    order = torch.randperm(17, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(soft_rank(x[:, order], 0.3), ranks[:, order])


def test_a_small_eps_gives_hard_ranks() -> None:
    x = torch.tensor([[8.0, 0.0, 5.0, 3.0, 2.0, 1.0, 6.0, 7.0, 9.0]])
    want = torch.tensor([[8.0, 1.0, 5.0, 4.0, 3.0, 2.0, 6.0, 7.0, 9.0]])
    torch.testing.assert_close(soft_rank(x, 1.0), want)


@pytest.mark.parametrize("eps", [0.01, 0.2, 1.0])
def test_soft_rank_gradient_is_exact(eps: float) -> None:
    x = draw(2, 7, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: soft_rank(t, eps), (x,), eps=1e-8, atol=1e-4)


def test_average_rank_equals_scipy() -> None:
    y = draw(2, 20, 4).round(decimals=0)
    np.testing.assert_array_equal(average_rank(y).numpy(), reference.rankdata(y.numpy(), axis=1))


def test_soft_spearman_is_close_to_spearman_and_raises_it_by_gradient() -> None:
    target = draw(1, 68, 5)
    norms = (target * 0.5 + draw(1, 68, 6)).requires_grad_()
    rho = soft_spearman(norms, average_rank(target))
    hard = reference.spearmanr(norms.detach().numpy()[0], target.numpy()[0]).statistic
    assert rho.item() == pytest.approx(hard, abs=0.03)
    rho.sum().backward()
    assert norms.grad is not None
    moved = norms.detach() + 5.0 * norms.grad
    assert soft_spearman(moved, average_rank(target)).item() > rho.item() + 0.01


def test_soft_spearman_does_not_depend_on_scale_or_row_neighbours() -> None:
    norms, target = draw(3, 30, 7), average_rank(draw(3, 30, 8))
    rho = soft_spearman(norms, target)
    torch.testing.assert_close(soft_spearman(norms * 40.0 + 3.0, target), rho, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(soft_spearman(norms[1:2], target[1:2]), rho[1:2])


def test_pearson_mode_is_what_the_published_soft_rank_of_strength_one_computes() -> None:
    norms, target = draw(2, 61, 9) * 2.0, draw(2, 61, 10)
    published = soft_rank(norms, 1.0) / 61.0
    want = [
        reference.pearsonr(t, r).statistic
        for t, r in zip(target.numpy(), published.numpy(), strict=True)
    ]
    np.testing.assert_allclose(pearson(norms, target).numpy(), want, atol=1e-6)


@pytest.mark.parametrize("correlation", [soft_spearman, pearson])
@pytest.mark.parametrize("n", [1, 2, 3, 20])
def test_constants_ties_and_short_rows_give_finite_values_and_gradients(
    correlation: object, n: int
) -> None:
    for norms in (torch.ones(2, n), torch.arange(2.0 * n).reshape(2, n) // 3):
        x = norms.requires_grad_()
        rho = correlation(x, average_rank(torch.ones(2, n)))  # type: ignore[operator]
        rho.sum().backward()
        assert torch.isfinite(rho).all()
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()


def test_soft_rank_refuses_a_wrong_shape_and_eps() -> None:
    with pytest.raises(ValueError, match="rows, n"):
        soft_rank(torch.ones(3), 1.0)
    with pytest.raises(ValueError, match="positive"):
        soft_rank(torch.ones(1, 3), 0.0)
