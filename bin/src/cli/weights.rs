//! The flags that say which model, be it of `train` or of PyTorch.

use crate::cli::text::one_of;
use crate::cli::{Failure, Kind, complain, run, usage};
use dataset::{Dataset, PixelStatistics, pixel_statistics};
use model::tensors::TensorFile;
use model::{Architecture, CUSTOM, Model, PRESETS, StateDict, Usage, suggestion};
use std::borrow::Borrow;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use trainer::Recipe;

/// Which weights, and what they do not say themselves.
#[derive(clap::Args)]
pub struct WeightsFlags {
    /// A file of weights (.safetensors, or PyTorch's .pth or .pt), or a run directory that has a model.safetensors
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// For weights of PyTorch: the network, a preset [default: found by names and shapes]
    #[arg(
        long, value_name = "NAME", hide_possible_values = true,
        value_parser = one_of(PRESETS.map(|(name, _)| name))
    )]
    model: Option<String>,
    /// For weights of PyTorch: how pixels / 255 are scaled [default: by the training images]
    #[arg(
        long, value_name = "MEAN,STD", value_parser = parse_statistics, allow_hyphen_values = true
    )]
    normalize: Option<PixelStatistics>,
}

/// A model, its file, and where its scaling comes from.
pub struct Loaded {
    pub model: Model,
    pub file: PathBuf,
    pub scaling: &'static str,
}

impl WeightsFlags {
    /// The file.
    pub fn file(&self) -> Result<PathBuf, Failure> {
        weights_file(&self.weights)
    }

    /// Loads the model. Weights that do not say what they are for, as PyTorch saves them, are for the
    /// images and classes of `data`.
    pub fn load<D: Borrow<Dataset>>(
        &self,
        data: impl FnOnce() -> Result<D, Failure>,
    ) -> Result<Loaded, Failure> {
        let file = self.file()?;
        let tensors = TensorFile::read(&file).map_err(run)?;
        if Model::is_in(&tensors) {
            if self.model.is_some() || self.normalize.is_some() {
                let flag = if self.model.is_some() { "--model" } else { "--normalize" };
                let file = file.display();
                return Err(usage(format!("{flag}: {file} says this itself, leave it out")));
            }
            let model = Model::from_tensors(&tensors).map_err(run)?;
            warn_of_statistics(&model, &file);
            return Ok(Loaded { model, file, scaling: "as in training" });
        }
        let data = data()?;
        let data = data.borrow();
        let input = data.image_shape();
        let architecture = match &self.model {
            Some(name) => architecture(name)?,
            None => StateDict::of(&tensors).matching_preset(input).map_err(run)?,
        };
        let (statistics, scaling) = self.statistics(data)?;
        let classes = Some(data.class_names().to_vec());
        let PixelStatistics { mean, std } = statistics;
        let usage = Usage { input, classes, mean, std };
        let mut model = Model::from_state_dict(&tensors, &architecture, usage).map_err(run)?;
        model.preparation = data.preparation();
        model.multi_label = data.is_multi_label();
        warn_of_statistics(&model, &file);
        Ok(Loaded { model, file, scaling })
    }

    fn statistics(&self, data: &Dataset) -> Result<(PixelStatistics, &'static str), Failure> {
        let channels = data.image_shape()[0];
        let Some(statistics) = &self.normalize else {
            let hint = |error| {
                let way = "or say how the input is scaled: --normalize MEAN,STD";
                Failure::new(Kind::Data, format!("{error}; {way}"))
            };
            let train = data.train().map_err(hint)?;
            let all: Vec<u32> = (0..train.len() as u32).collect();
            return Ok((
                pixel_statistics(train, channels, &all),
                "measured on the training images",
            ));
        };
        let given = statistics.mean.len();
        if given != 1 && given != channels {
            return Err(usage(format!(
                "--normalize: found {given} means, expected 1 or {channels}, one per channel"
            )));
        }
        Ok((statistics.clone(), "as given by --normalize"))
    }
}

/// Says so if no batch has moved the running statistics of a batch norm.
fn warn_of_statistics(model: &Model, file: &Path) {
    if let Some(layer) = model.network.unmoved_statistics(&model.weights) {
        let file = file.display();
        complain(
            "warning",
            &format!(
                "{file}: the running statistics of batch norm {layer} are of no batch: either the network has not \
                 been trained, or its training left them out and its outputs are wrong"
            ),
        );
    }
}

/// The file of weights that is meant: of a run directory its model.
pub fn weights_file(path: &Path) -> Result<PathBuf, Failure> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let file = path.join("model.safetensors");
    if !file.is_file() {
        let problem = "no model.safetensors in it: expected a run that has ended, or a file";
        return Err(Failure::new(Kind::File, format!("{}: {problem}", path.display())));
    }
    Ok(file)
}

/// The network that `--model` means.
fn architecture(name: &str) -> Result<Architecture, Failure> {
    let wrong = |error: &dyn Display| {
        let meant = suggestion(name, PRESETS.iter().map(|(known, _)| *known)).unwrap_or_default();
        usage(format!("--model: {error}{meant}"))
    };
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
fn parse_statistics(text: &str) -> Result<PixelStatistics, String> {
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
    Ok(PixelStatistics { mean, std })
}
