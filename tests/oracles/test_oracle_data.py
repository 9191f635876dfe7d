"""Law 12: folds, class weights and encoded tables against scikit-learn's."""

import jax
import numpy as np
import pytest
from keys import cached_key
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.utils.class_weight import compute_sample_weight
from tables import marked

import funcnet as fn


def left_out(made):
    """The row numbers of each validation fold."""
    return [np.asarray(v[:][0])[np.asarray(v.weights()) > 0] for _, v in made]


@pytest.mark.parametrize("pair", marked([(20, 5), (23, 5), (7, 7)], slow=[(20, 5)]))
def test_sizes_are_kfolds(pair):
    n, folds = pair
    sizes = [len(rows) for rows in left_out(fn.data.kfold((np.arange(n),), folds, cached_key(0)))]
    assert sizes == [len(valid) for _, valid in KFold(folds).split(np.arange(n))]


@pytest.mark.parametrize("seed", marked(range(5), slow=(2, 3, 4)))
def test_class_counts_are_stratified_kfolds(seed):
    rng = np.random.default_rng(seed)
    y = np.sort(rng.choice(3, size=61, p=[0.5, 0.3, 0.2]))
    ours = [
        np.bincount(y[rows], minlength=3)
        for rows in left_out(fn.data.kfold((np.arange(61),), 4, cached_key(0), stratify=y))
    ]
    theirs = [np.bincount(y[v], minlength=3) for _, v in StratifiedKFold(4).split(y, y)]
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("seed", marked(range(5), slow=(2, 3, 4)))
def test_sizes_of_whole_groups_are_group_kfolds(seed):
    groups = np.random.default_rng(seed).zipf(1.6, size=80) % 17
    ours = [
        len(rows) for rows in left_out(fn.data.kfold((np.arange(80),), 4, cached_key(0), groups=groups))
    ]
    theirs = [len(v) for _, v in GroupKFold(4).split(groups, groups=groups)]
    assert sorted(ours) == sorted(theirs)


@pytest.mark.slow
def test_stratified_groups_are_as_even_as_scikit_learns_on_the_whole():
    def spread(y, parts):
        counts = np.array([np.bincount(y[rows], minlength=3) for rows in parts]) / np.bincount(y)
        return counts.std(0).mean()

    ours, theirs = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        groups = rng.integers(0, 25, 150)
        y = np.where(rng.uniform(size=150) < 0.8, groups % 3, rng.integers(0, 3, 150))
        made = fn.data.kfold((np.arange(150),), 4, jax.random.key(seed), stratify=y, groups=groups)
        ours.append(spread(y, left_out(made)))
        theirs.append(spread(y, [v for _, v in StratifiedGroupKFold(4).split(y, y, groups)]))
    assert np.mean(ours) <= 1.1 * np.mean(theirs), (ours, theirs)


@pytest.mark.parametrize("labels", [[0, 0, 1, 2, 2, 2], list("aabccc"), [True, False, False], [9, 4, 4]])
def test_class_weights_are_compute_sample_weight(labels):
    np.testing.assert_allclose(
        fn.data.class_weights(labels), compute_sample_weight("balanced", labels), rtol=1e-6
    )
    some = {labels[0]: 2.5}
    np.testing.assert_allclose(fn.data.class_weights(labels, some), compute_sample_weight(some, labels))
