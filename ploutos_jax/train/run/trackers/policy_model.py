# pyright: reportMissingImports=false, reportPrivateImportUsage=false, reportIncompatibleMethodOverride=false
"""An exported policy as a model of MLflow: this file is the model's code, the export is its data; nothing is pickled.

MLflow copies the file beside the export and runs it when the model is loaded ("models from code").
"""

from typing import Any

import mlflow  # extra mlflow
import numpy as np

from ploutos_jax.train.checkpoints.export import load_policy


class PolicyModel(mlflow.pyfunc.PythonModel):
    """Greedy actions for flat observations, as `Agent.predict` gives them."""

    def load_context(self, context: Any) -> None:
        """Read the exported policy; arrays are checked, nothing in it is run."""
        self.agent = load_policy(context.artifacts["policy"])

    # MLflow takes type hints of these arguments for a schema of its own, and warns of those it does not know.
    def predict(self, context, model_input, params=None):
        """Return the action `[E, A]` (float or int) for vectors `[E, observation]` of `TradingEnv.flatten`."""
        del context, params
        return self.agent.predict(np.asarray(model_input, np.float32))[0]


mlflow.models.set_model(PolicyModel())
