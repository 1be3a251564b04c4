//! Arrays of NumPy: images and labels in, weights in and out.

use crate::error::{failed, wrong};
use dataset::{Pixels, Samples};
use model::{Network, Role};
use numpy::{
    IntoPyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray4,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Images as the engine has them, held where NumPy has them.
pub enum Images<'py> {
    Bytes(PyReadonlyArray4<'py, u8>),
    Floats(PyReadonlyArray4<'py, f32>),
}

impl<'py> Images<'py> {
    /// Whatever a caller gives as images, in this layout; `name` is that of the argument.
    pub fn new(images: &Bound<'py, PyAny>, layout: &str, name: &str) -> PyResult<Images<'py>> {
        let helper = images.py().import("bobbin._arrays")?;
        let array = helper.call_method1("images", (images, layout, name))?;
        match array.extract() {
            Ok(bytes) => Ok(Images::Bytes(bytes)),
            Err(_) => Ok(Images::Floats(array.extract()?)),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.dims()[0]
    }

    /// Channels, rows and columns.
    pub fn shape(&self) -> [usize; 3] {
        let [_, rows, columns, channels] = self.dims();
        [channels, rows, columns]
    }

    fn dims(&self) -> [usize; 4] {
        let dims = match self {
            Images::Bytes(array) => array.as_array().dim(),
            Images::Floats(array) => array.as_array().dim(),
        };
        dims.into()
    }

    /// All values.
    pub fn pixels(&self) -> PyResult<Pixels<'_>> {
        let problem = |_| failed("images that are not contiguous");
        match self {
            Images::Bytes(array) => array.as_slice().map(Pixels::Bytes).map_err(problem),
            Images::Floats(array) => array.as_slice().map(Pixels::Floats).map_err(problem),
        }
    }
}

/// Labels as the engine has them, held where NumPy has them.
pub enum Labels<'py> {
    /// A class for each image.
    Classes(PyReadonlyArray1<'py, u32>),
    /// Any number of labels for each, \[images, labels\].
    Matrix(PyReadonlyArray2<'py, u8>),
}

impl<'py> Labels<'py> {
    /// Whatever a caller gives as labels of so many images; `name` is that of the argument.
    pub fn new(labels: &Bound<'py, PyAny>, images: usize, name: &str) -> PyResult<Labels<'py>> {
        let helper = labels.py().import("bobbin._arrays")?;
        let array = helper.call_method1("labels", (labels, images, name))?;
        match array.extract() {
            Ok(classes) => Ok(Labels::Classes(classes)),
            Err(_) => Ok(Labels::Matrix(array.extract()?)),
        }
    }

    /// All of them.
    pub fn values(&self) -> PyResult<dataset::Labels<'_>> {
        let problem = |_| failed("labels that are not contiguous");
        match self {
            Labels::Classes(array) => {
                array.as_slice().map(dataset::Labels::Classes).map_err(problem)
            }
            Labels::Matrix(array) => array.as_slice().map(dataset::Labels::Matrix).map_err(problem),
        }
    }

    /// The number of the last class that they show.
    pub fn highest(&self) -> PyResult<u32> {
        Ok(match (self, self.values()?) {
            (Labels::Matrix(array), _) => array.as_array().ncols().saturating_sub(1) as u32,
            (_, dataset::Labels::Classes(labels)) => labels.iter().max().copied().unwrap_or(0),
            (_, dataset::Labels::Matrix(_)) => 0,
        })
    }
}

/// Images with their labels, held where NumPy has them.
pub struct Labelled<'py> {
    pub images: Images<'py>,
    pub labels: Labels<'py>,
}

impl<'py> Labelled<'py> {
    /// Of what a caller gives; `part` is what the names of the arguments begin with.
    pub fn new(
        images: &Bound<'py, PyAny>,
        labels: &Bound<'py, PyAny>,
        layout: &str,
        part: &str,
    ) -> PyResult<Labelled<'py>> {
        let images = Images::new(images, layout, &format!("{part}images"))?;
        let labels = Labels::new(labels, images.len(), &format!("{part}labels"))?;
        Ok(Labelled { images, labels })
    }

    /// As the engine takes them.
    pub fn samples(&self) -> PyResult<Samples<'_>> {
        let (pixels, labels) = (self.images.pixels()?, self.labels.values()?);
        Ok(Samples { pixels, labels })
    }
}

/// Copies of the weights under PyTorch's names.
pub fn state_dict<'py>(
    py: Python<'py>,
    network: &Network,
    weights: &[f32],
) -> PyResult<Bound<'py, PyDict>> {
    let state = PyDict::new(py);
    for parameter in network.parameters() {
        let floats = parameter.place.of(weights);
        match parameter.role {
            Role::BatchesTracked => {
                let count: Vec<i64> = floats.iter().map(|&value| value as i64).collect();
                let array = count.into_pyarray(py).reshape(parameter.shape.clone())?;
                state.set_item(&parameter.name, array)?;
            }
            _ => {
                let array = floats.to_vec().into_pyarray(py).reshape(parameter.shape.clone())?;
                state.set_item(&parameter.name, array)?;
            }
        }
    }
    Ok(state)
}

/// The buffer of a network from weights under PyTorch's names: all of them, and no others.
pub fn weights_of(network: &Network, given: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    let py = given.py();
    let given = py.import("builtins")?.getattr("dict")?.call1((given,))?.cast_into::<PyDict>()?;
    let helper = py.import("bobbin._arrays")?;
    let mut weights = vec![0.0; network.len()];
    for parameter in network.parameters() {
        let name = &parameter.name;
        let Some(value) = given.get_item(name)? else {
            return Err(wrong(format!("weights: `{name}` is missing: the network has it")));
        };
        let array = helper.call_method1("weight", (value, name, parameter.shape.clone()))?;
        let array = array.cast_into::<PyArrayDyn<f32>>()?.readonly();
        let values = array.as_slice().map_err(|_| failed("weights that are not contiguous"))?;
        parameter.place.of_mut(&mut weights).copy_from_slice(values);
        given.del_item(name)?;
    }
    match given.keys().iter().next() {
        Some(name) => Err(wrong(format!("weights: `{name}` is no parameter of the network"))),
        None => Ok(weights),
    }
}
