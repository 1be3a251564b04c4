//! Errors on their way to Python: the programs' messages, and never a panic.

use pyo3::PyErr;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use trainer::TrainError;
use trainer::recipe::RecipeError;

create_exception!(
    bobbin,
    Error,
    PyException,
    "Data, a file or training failed. The message is that of the programs."
);

/// An error of data, files or training.
pub fn failed(error: impl Display) -> PyErr {
    Error::new_err(error.to_string())
}

/// An error of an argument.
pub fn wrong(error: impl Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// An error of a recipe, which is an argument; a file of weights that it names is not.
pub fn of_recipe(error: RecipeError) -> PyErr {
    match error {
        RecipeError::Weights(error) => failed(error),
        error => wrong(error),
    }
}

/// An error of training; what is wrong with the recipe or with images in memory is an argument's.
pub fn of_training(error: TrainError) -> PyErr {
    match error {
        TrainError::Recipe(error) => of_recipe(error),
        TrainError::Data(error) => of_data(&error),
        error @ (TrainError::NoTest(_)
        | TrainError::Shape { .. }
        | TrainError::SingleValue { .. }) => wrong(error),
        error => failed(error),
    }
}

/// An error of a data set.
pub fn of_data(error: &dataset::DataError) -> PyErr {
    match error {
        dataset::DataError::Memory { .. } | dataset::DataError::NoPart { .. } => wrong(error),
        error => failed(error),
    }
}

/// A warning of Python; `level` is how many calls up the line is that it names, from one.
pub fn warn(py: Python<'_>, said: &str, level: usize) -> PyResult<()> {
    py.import("warnings")?.call_method1("warn", (said, py.None(), level)).map(drop)
}

/// What `f` returns. A panic of it, which is a bug in Bobbin, is an error like others.
pub fn guarded<R>(f: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(failed(format!("this is a bug in Bobbin; please report it: {said}")))
    })
}
