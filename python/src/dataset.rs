//! The class `Dataset`.

use crate::arrays::Labelled;
use crate::error::{guarded, of_data, wrong};
use dataset::Source;
use numpy::{IntoPyArray, PyArrayMethods};
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;

/// Images and labels.
type Arrays<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// Training images, test images if there are any, their labels, and the names of the classes.
#[pyclass(frozen, module = "bobbin")]
pub struct Dataset(pub Arc<dataset::Dataset>);

#[pymethods]
impl Dataset {
    /// A data set of images in memory, which are copied once.
    #[staticmethod]
    #[pyo3(signature = (
        train_images, train_labels, test_images=None, test_labels=None, *, class_names=None, layout="nchw"
    ))]
    fn from_arrays(
        train_images: &Bound<'_, PyAny>,
        train_labels: &Bound<'_, PyAny>,
        test_images: Option<&Bound<'_, PyAny>>,
        test_labels: Option<&Bound<'_, PyAny>>,
        class_names: Option<Vec<String>>,
        layout: &str,
    ) -> PyResult<Dataset> {
        let py = train_images.py();
        let train = Labelled::new(train_images, train_labels, layout, "train_")?;
        let test = match (test_images, test_labels) {
            (Some(images), Some(labels)) => Some(Labelled::new(images, labels, layout, "test_")?),
            (None, None) => None,
            _ => {
                return Err(wrong("test_images and test_labels: found one of them: expected both"));
            }
        };
        let shape = train.images.shape();
        if let Some(found) = test.as_ref().map(|test| test.images.shape())
            && found != shape
        {
            let problem = "(channels, rows, columns): expected that of train_images";
            return Err(wrong(format!(
                "test_images: found images of {found:?} {problem}, {shape:?}"
            )));
        }
        let highest = train.labels.highest()?;
        let names = class_names.unwrap_or_else(|| numbers(highest));
        let test = test.as_ref().map(Labelled::samples).transpose()?;
        let train = train.samples()?;
        let copy = || {
            let data = dataset::Dataset::in_memory(shape, &names, train, test);
            Ok(Dataset(Arc::new(data.map_err(|error| of_data(&error))?)))
        };
        py.detach(|| guarded(copy))
    }

    /// A directory of IDX files, plain or gzipped, mapped into memory.
    #[staticmethod]
    #[pyo3(signature = (directory, *, prefix=None))]
    fn open(py: Python<'_>, directory: PathBuf, prefix: Option<String>) -> PyResult<Dataset> {
        let source = Source { prefix, ..Source::new(directory) };
        py.detach(|| guarded(|| open(&source)))
    }

    /// The Fashion-MNIST of the source tree.
    #[staticmethod]
    pub fn bundled(py: Python<'_>) -> PyResult<Dataset> {
        let open = || open(&Source::bundled().map_err(|error| of_data(&error))?);
        py.detach(|| guarded(open))
    }

    /// Copies of the images of a part, (n, rows, columns, channels), as bytes or floats, and their labels: numbers, or a row
    /// of noughts and ones for each image.
    #[pyo3(signature = (part="train"))]
    fn arrays<'py>(&self, py: Python<'py>, part: &str) -> PyResult<Arrays<'py>> {
        let split = match part {
            "train" => self.0.train(),
            "test" => self.0.test(),
            _ => {
                return Err(wrong(format!("part: found {part:?}: expected 'train' or 'test'")));
            }
        };
        let split = split.map_err(|error| of_data(&error))?;
        let [channels, rows, columns] = self.0.image_shape();
        let shape = [split.len(), rows, columns, channels];
        let images = if split.value_len() == 1 {
            let bytes =
                py.detach(|| (0..split.len()).flat_map(|i| split.image(i)).collect::<Vec<_>>());
            bytes.into_pyarray(py).reshape(shape)?.into_any()
        } else {
            py.detach(|| floats(split)).into_pyarray(py).reshape(shape)?.into_any()
        };
        let labels = if split.is_multi_label() {
            let sets = (0..split.len()).filter_map(|i| split.label_set(i));
            let sets = sets.collect::<Vec<_>>().concat();
            sets.into_pyarray(py).reshape([split.len(), self.0.classes()])?.into_any()
        } else {
            split.labels().to_vec().into_pyarray(py).into_any()
        };
        Ok((images, labels))
    }

    #[getter]
    fn class_names(&self) -> Vec<String> {
        self.0.class_names().to_vec()
    }

    #[getter]
    fn image_shape(&self) -> (usize, usize, usize) {
        self.0.image_shape().into()
    }

    #[getter]
    fn train_images(&self) -> usize {
        self.0.train().map_or(0, dataset::Split::len)
    }

    #[getter]
    fn test_images(&self) -> usize {
        self.0.test().map_or(0, dataset::Split::len)
    }

    fn __repr__(&self) -> String {
        let [channels, rows, columns] = self.0.image_shape();
        format!(
            "Dataset({} training and {} test images of {channels}×{rows}×{columns}, {} classes)",
            self.train_images(),
            self.test_images(),
            self.0.classes()
        )
    }
}

/// The images of a part that holds floats, of which 1 is white.
fn floats(split: &dataset::Split) -> Vec<f32> {
    let mut image = vec![0; split.image_len()];
    let mut values = Vec::with_capacity(split.len() * image.len() / 4);
    for i in 0..split.len() {
        split.copy_image(i, &mut image);
        values.extend(image.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value) / 255.0));
    }
    values
}

/// A data set in files.
pub fn open(source: &Source) -> PyResult<Dataset> {
    let data = dataset::Dataset::open(source).map_err(|error| of_data(&error))?;
    Ok(Dataset(Arc::new(data)))
}

/// Class names where there are none; a label beyond what the engine takes stays beyond them.
fn numbers(highest: u32) -> Vec<String> {
    let most = dataset::MAX_CLASSES as u32 + 1;
    (0..highest.saturating_add(1).min(most)).map(|class| class.to_string()).collect()
}
