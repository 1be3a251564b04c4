//! Weights by name: which tensor of a file is which parameter of a network, and what does not fit.

use crate::names::is_of_checkpoint;
use crate::tensors::TensorFile;
use crate::{EMA, LayerList, Network, OPTIMIZER, PRESETS, Parameter, Role, UnknownPreset};
use autograd::Buffer;
use files::FileError;
use std::collections::{BTreeMap, BTreeSet};

/// What a network is, whatever the images and the number of classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// One of [`PRESETS`], or [`CUSTOM`](crate::CUSTOM).
    pub name: String,
    /// Its layers.
    pub layers: LayerList,
}

impl Architecture {
    /// The preset of this name.
    pub fn preset(name: &str) -> Result<Architecture, UnknownPreset> {
        Ok(Architecture { name: name.to_owned(), layers: LayerList::preset(name)? })
    }
}

/// The weights in a file: PyTorch's `state_dict`, a model's, or a checkpoint's.
#[derive(Debug)]
pub struct StateDict<'a> {
    pub(crate) file: &'a TensorFile,
    /// The name of each tensor that may be a parameter, and of the one that has its value.
    tensors: BTreeMap<String, String>,
    /// What all names have before what may be the parameter's; first nothing, then more and more.
    prefixes: Vec<String>,
}

impl<'a> StateDict<'a> {
    /// The weights of this file. Of a checkpoint (a model with a metadata key
    /// [`CHECKPOINT`](crate::CHECKPOINT)) the optimiser's state is left out, and averaged weights are
    /// taken where there are such.
    ///
    /// What PyTorch puts before every name when a network is wrapped (`module.`, `_orig_mod.`) or is an
    /// attribute of another (`model.`, `net.`) is left out where the names then are those of a network;
    /// so is the count `n_averaged` of an `AveragedModel`.
    #[must_use]
    pub fn of(file: &'a TensorFile) -> StateDict<'a> {
        let mut names = file.names();
        names.retain(|name| !counts_averages(file, name));
        let is_checkpoint = is_of_checkpoint(file.metadata());
        let own = |name: &String| {
            !(is_checkpoint && [EMA, OPTIMIZER].iter().any(|part| name.starts_with(part)))
        };
        let (weights, others): (Vec<String>, Vec<String>) = names.into_iter().partition(own);
        let prefixes = prefixes(&weights);
        let mut tensors: BTreeMap<String, String> =
            weights.into_iter().map(|name| (name.clone(), name)).collect();
        for name in others {
            if let Some(tensor) = name.strip_prefix(EMA).and_then(|own| tensors.get_mut(own)) {
                *tensor = name;
            }
        }
        StateDict { file, tensors, prefixes }
    }

    /// The weights of this network, if these are all that it has, and no others. Where the count of
    /// the batches that a batch norm has seen is missing, it is zero.
    pub fn weights(&self, network: &Network) -> Result<Buffer, FileError> {
        let named = self.named(network);
        named.check(&[])?;
        let mut weights = Buffer::zeros(network.len());
        named.read(&[], &mut weights)?;
        Ok(weights)
    }

    /// The classes of a network of this architecture for these images, by the weights of its last layer.
    pub fn classes(&self, architecture: &Architecture, input: [usize; 3]) -> Option<usize> {
        let network = Network::new(input, &architecture.layers.layers(1)).ok()?;
        let named = self.named(&network);
        let tensor = named.tensor(network.head()?)?;
        self.file.shape(tensor)?.first().copied()
    }

    /// The only preset that has these weights, for images of this shape. The error says by what the
    /// nearest differs.
    pub fn matching_preset(&self, input: [usize; 3]) -> Result<Architecture, FileError> {
        let mut nearest: Option<(&str, Vec<String>)> = None;
        for (name, _) in PRESETS {
            let architecture = Architecture::preset(name).expect("a preset by its own name");
            let classes = self.classes(&architecture, input).unwrap_or(1);
            let network = Network::new(input, &architecture.layers.layers(classes));
            let Ok(network) = network else { continue };
            let differences = self.named(&network).differences(&[]);
            if differences.is_empty() {
                return Ok(architecture);
            }
            if nearest.as_ref().is_none_or(|(_, least)| differences.len() < least.len()) {
                nearest = Some((name, differences));
            }
        }
        let [channels, height, width] = input;
        let images = format!("for images of {channels}×{height}×{width}");
        Err(self.file.problem(match nearest {
            None => format!("no preset is {images}"),
            Some((name, differences)) => {
                let problem = listed(&differences);
                format!("no preset has these weights {images}; the nearest is {name}: {problem}")
            }
        }))
    }

    /// The tensors by the names of this network's parameters: without the prefix by which most of them are
    /// found, of several the shortest.
    pub(crate) fn named<'s>(&'s self, network: &'s Network) -> Named<'s> {
        let missing = |prefix: &&String| {
            let named = Named { state: self, network, prefix };
            network.parameters().iter().filter(|p| named.tensor(p).is_none()).count()
        };
        let prefix = self.prefixes.iter().min_by_key(missing).map_or("", |prefix| prefix);
        Named { state: self, network, prefix }
    }
}

/// Whether it is the count that PyTorch's `AveragedModel` has beside the parameters.
fn counts_averages(file: &TensorFile, name: &str) -> bool {
    let shape = file.shape(name).unwrap_or_default();
    name.rsplit('.').next() == Some("n_averaged") && (shape.is_empty() || shape == [1])
}

/// Nothing, and all that ends in a dot and begins every one of these names; the shortest first.
fn prefixes(names: &[String]) -> Vec<String> {
    let first = names.first().map_or("", |name| name);
    let dots = first.match_indices('.').map(|(at, _)| &first[..=at]);
    let common = dots.take_while(|prefix| names.iter().all(|name| name.starts_with(prefix)));
    [""].into_iter().chain(common).map(str::to_owned).collect()
}

/// The tensors of a file as the parameters of a network.
pub(crate) struct Named<'s> {
    state: &'s StateDict<'s>,
    network: &'s Network,
    prefix: &'s str,
}

impl Named<'_> {
    /// The tensor with the value of a parameter.
    pub fn tensor(&self, parameter: &Parameter) -> Option<&str> {
        let name = format!("{}{}", self.prefix, parameter.name);
        self.state.tensors.get(&name).map(|tensor| &**tensor)
    }

    /// Whether these are the weights of the network, but for those to be kept.
    pub fn check(&self, kept: &[String]) -> Result<(), FileError> {
        let differences = self.differences(kept);
        let file = self.state.file;
        if differences.is_empty() { Ok(()) } else { Err(file.problem(listed(&differences))) }
    }

    /// What keeps these from being the weights of the network, without those to be kept.
    fn differences(&self, kept: &[String]) -> Vec<String> {
        let mut differences = vec![];
        for parameter in self.wanted(kept) {
            let tensor = self.tensor(parameter).unwrap_or(&parameter.name);
            differences.extend(self.state.file.difference(tensor, parameter));
        }
        let names = self.network.parameters().iter().map(|p| &*p.name);
        let known: BTreeSet<&str> = names.collect();
        for name in self.state.tensors.keys() {
            if !name.strip_prefix(self.prefix).is_some_and(|name| known.contains(name)) {
                differences.push(format!("`{name}` is not a parameter of this network"));
            }
        }
        differences
    }

    /// Puts what has been checked into the network's weights.
    pub fn read(&self, kept: &[String], weights: &mut [f32]) -> Result<(), FileError> {
        for parameter in self.wanted(kept) {
            match self.tensor(parameter) {
                Some(tensor) => self.state.file.copy(tensor, parameter, weights)?,
                None => parameter.place.of_mut(weights).fill(0.0),
            }
        }
        Ok(())
    }

    /// The parameters that must be in the file, or are: without those to be kept.
    fn wanted(&self, kept: &[String]) -> impl Iterator<Item = &Parameter> {
        self.network.parameters().iter().filter(|parameter| {
            let optional = parameter.role == Role::BatchesTracked;
            let absent = optional && self.tensor(parameter).is_none();
            !kept.contains(&parameter.name) && !absent
        })
    }
}

/// The first few of many problems.
fn listed(differences: &[String]) -> String {
    let shown = differences[..differences.len().min(3)].join("; ");
    match differences.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}
