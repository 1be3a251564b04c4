//! The flags that say which model, be it of `train` or of PyTorch.

use crate::cli::{Failure, run, usage, weights_file};
use model::{Architecture, CUSTOM, Model, StateDict, TensorFile, Usage};
use std::borrow::Borrow;
use std::fmt::Display;
use std::path::PathBuf;
use trainer::{Dataset, Moments, Recipe, measure};

/// Which weights, and what they do not say themselves.
#[derive(clap::Args)]
pub struct WeightsFlags {
    /// A safetensors file, or a run directory that has a model.safetensors
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// For weights of PyTorch: the network, a preset [default: found by names and shapes]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// For weights of PyTorch: how pixels / 255 are scaled [default: by the training images]
    #[arg(
        long, value_name = "MEAN,STD", value_parser = parse_moments, allow_hyphen_values = true
    )]
    normalize: Option<Moments>,
}

/// A model, its file, and where its scaling comes from.
#[allow(dead_code, reason = "not every program tells")]
pub struct Loaded {
    pub model: Model,
    pub file: PathBuf,
    pub scaling: &'static str,
}

impl WeightsFlags {
    /// Loads the model. Weights that do not say what they are for, as PyTorch saves them, are for the
    /// images and classes of `data`.
    pub fn load<D: Borrow<Dataset>>(
        &self,
        data: impl FnOnce() -> Result<D, Failure>,
    ) -> Result<Loaded, Failure> {
        let file = weights_file(&self.weights)?;
        let tensors = TensorFile::read(&file).map_err(run)?;
        if Model::is_in(&tensors) {
            if self.model.is_some() || self.normalize.is_some() {
                let flag = if self.model.is_some() { "--model" } else { "--normalize" };
                let file = file.display();
                return Err(usage(format!("{flag}: {file} says this itself, leave it out")));
            }
            let model = Model::from_tensors(&tensors).map_err(run)?;
            return Ok(Loaded { model, file, scaling: "as in training" });
        }
        let data = data()?;
        let data = data.borrow();
        let input = data.image_shape();
        let architecture = match &self.model {
            Some(name) => architecture(name)?,
            None => StateDict::of(&tensors).matching_preset(input).map_err(run)?,
        };
        let (moments, scaling) = self.moments(data)?;
        let classes = Some(data.class_names().to_vec());
        let Moments { mean, std } = moments;
        let usage = Usage { input, classes, mean, std };
        let model = Model::from_state_dict(&tensors, &architecture, usage).map_err(run)?;
        Ok(Loaded { model, file, scaling })
    }

    fn moments(&self, data: &Dataset) -> Result<(Moments, &'static str), Failure> {
        let channels = data.image_shape()[0];
        let Some(moments) = &self.normalize else {
            let hint = |error| {
                Failure::Run(format!(
                    "{error}; or say how the input is scaled: --normalize MEAN,STD"
                ))
            };
            let train = data.train().map_err(hint)?;
            let all: Vec<u32> = (0..train.len() as u32).collect();
            return Ok((measure(train, channels, &all), "measured on the training images"));
        };
        let given = moments.mean.len();
        if given != 1 && given != channels {
            return Err(usage(format!(
                "--normalize: found {given} means, expected 1 or {channels}, one per channel"
            )));
        }
        Ok((moments.clone(), "as given by --normalize"))
    }
}

/// The network that `--model` means.
fn architecture(name: &str) -> Result<Architecture, Failure> {
    let wrong = |error: &dyn Display| usage(format!("--model: {error}"));
    if !name.ends_with(".toml") {
        return Architecture::preset(name).map_err(|error| wrong(&error));
    }
    let section = Recipe::load(name, &[]).map_err(|error| wrong(&error))?.model;
    match section.layers {
        Some(layers) => Ok(Architecture { name: CUSTOM.to_owned(), layers }),
        None => Architecture::preset(section.name()).map_err(|error| wrong(&error)),
    }
}

/// As many means as deviations, separated by commas.
fn parse_moments(text: &str) -> Result<Moments, String> {
    let number = |text: &str| text.trim().parse().ok().filter(|value: &f64| value.is_finite());
    let values: Option<Vec<f64>> = text.split(',').map(number).collect();
    let expected = "expected a mean and a positive deviation such as 0.286,0.353, or all means and \
                    then all deviations";
    let mut mean = values.filter(|values| values.len().is_multiple_of(2)).ok_or(expected)?;
    let std = mean.split_off(mean.len() / 2);
    // As small as this it would become infinite in the arithmetic of the network.
    if std.iter().any(|&value| value < 1e-6) || mean.iter().any(|value| value.abs() > 1e6) {
        return Err(expected.into());
    }
    Ok(Moments { mean, std })
}
