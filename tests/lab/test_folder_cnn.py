"""The published figures of a two-class network, against scikit-learn; what is undefined is None."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")

from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from dicom_node.lab import folder_cnn


def test_figures_are_scikit_learns() -> None:
    random = np.random.default_rng(1)
    labels = random.random(300) < 0.4
    p = np.clip(random.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    found, called = folder_cnn.figures(labels, p), p >= 0.5
    assert found.precision == pytest.approx(precision_score(labels, called))
    assert found.sensitivity == pytest.approx(recall_score(labels, called))
    assert found.specificity == pytest.approx(recall_score(~labels, ~called))
    assert found.f1 == pytest.approx(f1_score(labels, called))
    assert found.accuracy == pytest.approx(accuracy_score(labels, called))
    assert found.roc_auc == pytest.approx(roc_auc_score(labels, p))
    assert found.true_positive + found.false_positive + found.true_negative + found.false_negative == 300


def test_what_is_undefined_is_none() -> None:
    healthy = folder_cnn.figures(np.array([False, False]), np.array([0.1, 0.2]))
    assert healthy.precision is healthy.sensitivity is healthy.f1 is healthy.roc_auc is None
    assert healthy.specificity == 1.0
    nothing = folder_cnn.figures(np.zeros(0, dtype=bool), np.zeros(0))
    assert nothing.accuracy is None
