"""PyTorch programs on Bobbin, in the manner of BigDL's Orca.

    from bobbin.torch import Accuracy, Estimator

    estimator = Estimator.from_torch(
        model=net, optimizer=torch.optim.Adam(net.parameters()), loss=nn.CrossEntropyLoss(), metrics=[Accuracy()]
    )
    estimator.fit(loader, epochs=5, validation_data=test_loader)
    net = estimator.get_model()

What can be taken, and what of Orca there is, says docs/from-torch.md.
"""

from .context import init_orca_context, stop_orca_context
from .errors import UnsupportedModule
from .estimator import Estimator
from .history import History
from .metrics import (
    AUC,
    F1,
    MAE,
    MSE,
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    Metric,
    Precision,
    Recall,
    SparseCategoricalAccuracy,
    Top5Accuracy,
)
from .triggers import (
    EveryEpoch,
    MaxEpoch,
    MaxIteration,
    MaxScore,
    MinLoss,
    SeveralIteration,
    Trigger,
    TriggerAnd,
    TriggerOr,
)

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "Estimator",
    "EveryEpoch",
    "F1",
    "History",
    "MAE",
    "MSE",
    "MaxEpoch",
    "MaxIteration",
    "MaxScore",
    "Metric",
    "MinLoss",
    "Precision",
    "Recall",
    "SeveralIteration",
    "SparseCategoricalAccuracy",
    "Top5Accuracy",
    "Trigger",
    "TriggerAnd",
    "TriggerOr",
    "UnsupportedModule",
    "init_orca_context",
    "stop_orca_context",
]
