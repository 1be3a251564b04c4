//! What Python is told of steps, epochs and evaluations.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::time::Duration;
use trainer::scores::Scores;
use trainer::{Epoch, Step};

/// An evaluation.
pub fn of_scores<'py>(py: Python<'py>, scores: &Scores) -> PyResult<Bound<'py, PyDict>> {
    let told = PyDict::new(py);
    told.set_item("images", scores.images)?;
    told.set_item("loss", scores.loss)?;
    told.set_item("accuracy", scores.top1)?;
    told.set_item("top5", scores.top5)?;
    told.set_item("balanced_accuracy", scores.metrics.balanced_accuracy)?;
    told.set_item("macro_f1", scores.metrics.macro_f1)?;
    told.set_item("auc", scores.metrics.auc)?;
    told.set_item("ece", scores.metrics.ece)?;
    Ok(told)
}

/// A step of an epoch (from one), after so many in all.
pub fn of_step<'py>(
    py: Python<'py>,
    (epoch, number): (usize, usize),
    step: &Step,
) -> PyResult<Bound<'py, PyDict>> {
    let told = PyDict::new(py);
    told.set_item("epoch", epoch)?;
    told.set_item("step", number)?;
    told.set_item("loss", step.loss / step.images as f64)?;
    told.set_item("accuracy", step.correct as f64 / step.images as f64)?;
    told.set_item("images", step.images)?;
    told.set_item("learning_rate", step.learning_rate)?;
    told.set_item("seconds", step.time.as_secs_f64())?;
    Ok(told)
}

/// An epoch, after so many steps in all, of so many images trained on in this time.
pub fn of_epoch<'py>(
    py: Python<'py>,
    number: usize,
    epoch: &Epoch,
    (images, time): (usize, Duration),
) -> PyResult<Bound<'py, PyDict>> {
    let told = PyDict::new(py);
    told.set_item("epoch", epoch.number)?;
    told.set_item("step", number)?;
    told.set_item("loss", epoch.training.loss)?;
    told.set_item("accuracy", epoch.training.accuracy)?;
    let validation = epoch.validation;
    told.set_item("validation_loss", validation.map(|found| found.loss))?;
    told.set_item("validation_accuracy", validation.map(|found| found.accuracy))?;
    told.set_item("learning_rate", epoch.learning_rate)?;
    told.set_item("images", images)?;
    told.set_item("seconds", time.as_secs_f64())?;
    told.set_item("images_per_second", images as f64 / time.as_secs_f64())?;
    Ok(told)
}
