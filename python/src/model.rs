//! The class `Model`.

use crate::arrays::{Images, Labelled, state_dict};
use crate::error::{failed, guarded, of_data, wrong};
use crate::metrics::of_scores;
use crate::threads::Threads;
use dataset::{Pixels, Samples};
use numpy::{IntoPyArray, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use self_cell::self_cell;
use std::path::PathBuf;
use trainer::Predictor;
use trainer::scores::{
    NotFiniteOutput, ScoreOptions, Scores, label_probability, most_probable, softmax,
};

/// What a predictor borrows.
struct Owner {
    model: model::Model,
    threads: Threads,
}

self_cell!(
    struct Ready {
        owner: Owner,
        #[covariant]
        dependent: Predictor,
    }
);

/// A trained network.
#[pyclass(frozen, module = "bobbin")]
pub struct Model(Ready);

impl Model {
    /// This network on these threads.
    pub fn new(model: model::Model, threads: Threads) -> PyResult<Model> {
        let owner = Owner { model, threads };
        Ready::try_new(owner, |owner| {
            Predictor::new(&owner.model, &owner.threads.workers).map_err(failed)
        })
        .map(Model)
    }

    fn model(&self) -> &model::Model {
        &self.0.borrow_owner().model
    }

    /// The logits of images, one row after another.
    fn logits(&self, py: Python<'_>, images: &Images<'_>) -> PyResult<Vec<f32>> {
        let expected = self.model().network.input();
        let found = images.shape();
        if found != expected {
            let problem =
                "(channels, rows, columns): expected the shape that the network was made for";
            return Err(wrong(format!("images: found {found:?} {problem}, {expected:?}")));
        }
        let Owner { threads, .. } = self.0.borrow_owner();
        threads.check()?;
        let predictor = self.0.borrow_dependent();
        let (n, pixels) = (images.len(), images.pixels()?);
        let mut logits = vec![0.0; n * predictor.classes()];
        if n == 0 {
            return Ok(logits);
        }
        py.detach(|| {
            guarded(|| match pixels {
                Pixels::Bytes(bytes) => {
                    let len = bytes.len() / n;
                    let image = |i: usize| &bytes[i * len..][..len];
                    threads.workers.run(|| predictor.logits(image, &mut logits));
                    Ok(())
                }
                floats @ Pixels::Floats(_) => {
                    let (labels, numbers) = (vec![0; n], (0..n as u32).collect::<Vec<_>>());
                    let samples = Samples::new(floats, &labels);
                    let split = samples.to_split(expected, 1).map_err(|error| of_data(&error))?;
                    threads.workers.run(|| predictor.logits_of(&split, &numbers, &mut logits));
                    Ok(())
                }
            })
        })?;
        Ok(logits)
    }

    /// The same; an error if one is infinite or not a number, of which nothing can be said.
    fn finite_logits(&self, py: Python<'_>, images: &Images<'_>) -> PyResult<Vec<f32>> {
        let logits = self.logits(py, images)?;
        match logits.iter().position(|logit| !logit.is_finite()) {
            Some(place) => Err(failed(NotFiniteOutput { image: place / self.classes_of_row() })),
            None => Ok(logits),
        }
    }

    /// What it makes of labelled images.
    pub fn scores(&self, samples: Samples<'_>) -> PyResult<Scores> {
        let Owner { threads, model } = self.0.borrow_owner();
        threads.check()?;
        let split = samples.to_split(model.network.input(), model.classes.len());
        let split = split.map_err(|error| of_data(&error))?;
        let numbers: Vec<u32> = (0..split.len() as u32).collect();
        let predictor = self.0.borrow_dependent();
        let options = ScoreOptions::default();
        threads.workers.run(|| Scores::new(predictor, &split, &numbers, options)).map_err(failed)
    }
}

#[pymethods]
impl Model {
    /// A `model.safetensors`, or that of a run directory.
    #[staticmethod]
    #[pyo3(signature = (path, *, threads=None))]
    fn load(py: Python<'_>, path: PathBuf, threads: Option<usize>) -> PyResult<Model> {
        let file = if path.is_dir() { path.join("model.safetensors") } else { path };
        let load = || {
            let model = model::Model::load(&file).map_err(failed)?;
            Model::new(model, Threads::start(threads)?)
        };
        py.detach(|| guarded(load))
    }

    /// The logits of images, [images, classes].
    #[pyo3(signature = (images, *, layout="nchw"))]
    fn __call__<'py>(
        &self,
        images: &Bound<'py, PyAny>,
        layout: &str,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let py = images.py();
        let images = Images::new(images, layout, "images")?;
        self.rows(py, images.len(), self.logits(py, &images)?)
    }

    /// The softmax of the logits, [images, classes]; of several labels to an image, of each by itself.
    #[pyo3(signature = (images, *, layout="nchw"))]
    fn predict_proba<'py>(
        &self,
        images: &Bound<'py, PyAny>,
        layout: &str,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let py = images.py();
        let images = Images::new(images, layout, "images")?;
        let logits = self.finite_logits(py, &images)?;
        let probabilities = if self.model().multi_label {
            logits.into_iter().map(|logit| label_probability(logit) as f32).collect()
        } else {
            let rows = logits.chunks_exact(self.classes_of_row());
            rows.flat_map(softmax).map(|value| value as f32).collect()
        };
        self.rows(py, images.len(), probabilities)
    }

    /// The number of the most probable class of each image; of several labels to an image, [images, labels], 1 for each
    /// that is found.
    #[pyo3(signature = (images, *, layout="nchw"))]
    fn predict<'py>(
        &self,
        images: &Bound<'py, PyAny>,
        layout: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = images.py();
        let logits = self.finite_logits(py, &Images::new(images, layout, "images")?)?;
        let width = self.classes_of_row();
        if self.model().multi_label {
            let found: Vec<i64> = logits.iter().map(|logit| i64::from(*logit > 0.0)).collect();
            let images = found.len() / width;
            return Ok(found.into_pyarray(py).reshape([images, width])?.into_any());
        }
        let rows = logits.chunks_exact(width);
        let found: Vec<i64> = rows.map(|row| most_probable(row) as i64).collect();
        Ok(found.into_pyarray(py).into_any())
    }

    /// Loss, accuracy and more on these images.
    #[pyo3(signature = (images, labels, *, layout="nchw"))]
    fn evaluate<'py>(
        &self,
        images: &Bound<'py, PyAny>,
        labels: &Bound<'py, PyAny>,
        layout: &str,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = images.py();
        let given = Labelled::new(images, labels, layout, "")?;
        let samples = given.samples()?;
        let scores = py.detach(|| guarded(|| self.scores(samples)))?;
        of_scores(py, &scores)
    }

    /// Copies of the weights under PyTorch's names.
    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let model = self.model();
        state_dict(py, &model.network, &model.weights)
    }

    /// Writes it as the programs do.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| guarded(|| self.model().save(&path).map_err(failed)))
    }

    /// For pickles and copies: the bytes of its file.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("bobbin._pickled")?.call_method1("reduced", (slf,))
    }

    #[getter]
    fn classes(&self) -> Vec<String> {
        self.model().classes.clone()
    }

    #[getter]
    fn image_shape(&self) -> (usize, usize, usize) {
        self.model().network.input().into()
    }

    #[getter]
    fn normalize(&self) -> (Vec<f64>, Vec<f64>) {
        let model = self.model();
        (model.mean.clone(), model.std.clone())
    }

    #[getter]
    fn name(&self) -> &str {
        &self.model().preset
    }

    #[getter]
    fn precision(&self) -> String {
        self.model().network.precision().to_string()
    }

    fn __repr__(&self) -> String {
        let model = self.model();
        let [channels, rows, columns] = model.network.input();
        let (parameters, classes) = (model.network.parameter_count(), model.classes.len());
        format!(
            "Model({}, {parameters} parameters, images of {channels}×{rows}×{columns}, {classes} classes)",
            model.preset
        )
    }
}

impl Model {
    fn classes_of_row(&self) -> usize {
        self.0.borrow_dependent().classes()
    }

    fn rows<'py>(
        &self,
        py: Python<'py>,
        images: usize,
        values: Vec<f32>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        values.into_pyarray(py).reshape([images, self.classes_of_row()])
    }
}
