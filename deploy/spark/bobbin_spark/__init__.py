"""Bobbin on Apache Spark: one barrier stage, a task per MPI rank."""

from .columns import Columns
from .errors import BobbinError
from .estimator import Estimator
from .launcher import train
from .training import Training

__all__ = ["BobbinError", "Columns", "Estimator", "Training", "train"]
