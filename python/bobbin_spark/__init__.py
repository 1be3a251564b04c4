"""Bobbin on Apache Spark: one barrier stage, a task per MPI rank."""

from .columns import Columns
from .errors import BobbinError
from .estimator import Estimator
from .launcher import train
from .pipeline import Classifier, ClassifierModel
from .training import Training

__all__ = ["BobbinError", "Classifier", "ClassifierModel", "Columns", "Estimator", "Training", "train"]
