"""A probe in the published form: a joblib dict of regression, scaler and temperature, over 88,064 features."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

TEMPERATURE = 3.49
_FEATURES = 8 * 8 * 1376


@dataclass(frozen=True)
class Probe:
    """A probe file, its digest, and the estimators in it."""

    path: Path
    sha256: str
    model: Any
    scaler: Any

    def logit(self, pooled: np.ndarray) -> float:
        """Return z of features [8, 8, 1376], as scikit-learn itself says it."""
        row = pooled.reshape(1, -1).astype(np.float64)
        return float(self.model.decision_function(self.scaler.transform(row))[0])


def write_probe(path: Path, metrics: dict[str, Any]) -> Probe:
    """Write a probe of drawn weights, whose logits on the miniature's features lie on both sides of nought."""
    random = np.random.default_rng(4)
    features = random.normal(0.36, 1.0, (48, _FEATURES)).astype(np.float32)
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=1e-4, max_iter=20).fit(scaler.transform(features), np.arange(48) % 2)
    # A channel weighs alike everywhere, with a grain: features drawn at random would teach weights next to nought.
    weights = random.normal(0.0, 0.0012, (1, 1, 1376)) + random.normal(0.0, 0.0006, (8, 8, 1376))
    model.coef_, model.intercept_ = weights.reshape(1, _FEATURES), np.array([-5.0])
    content = {"model": model, "scaler": scaler, "temperature": TEMPERATURE, "holdout_metrics": metrics}
    joblib.dump(content, path)
    return Probe(path, hashlib.sha256(path.read_bytes()).hexdigest(), model, scaler)
