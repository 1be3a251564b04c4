//! The module `bobbin._bobbin`: the engine for Python. What its classes are, `bobbin/_bobbin.pyi` says.

mod arrays;
mod dataset;
mod error;
mod metrics;
mod model;
mod recipe;
mod record;
mod running;
mod signals;
mod threads;
mod trainer;

use pyo3::prelude::*;
use std::ffi::OsString;

/// The program `bobbin` with these arguments, its name first; returns its exit code.
#[pyfunction]
fn main(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<u8> {
    py.detach(|| error::guarded(|| Ok(commands::bobbin_with(arguments))))
}

/// The part of Bobbin that is written in Rust.
#[pymodule]
fn _bobbin(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("Error", module.py().get_type::<error::Error>())?;
    module.add_class::<dataset::Dataset>()?;
    module.add_class::<trainer::Trainer>()?;
    module.add_class::<model::Model>()?;
    module.add_function(wrap_pyfunction!(record::record, module)?)?;
    module.add_function(wrap_pyfunction!(record::resume, module)?)?;
    module.add_function(wrap_pyfunction!(main, module)?)
}
