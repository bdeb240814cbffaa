"""Training, evaluation and export of models: the only place for torch and scikit-learn. Nobody imports it."""
