//! Weights by name: which tensor of a file is which parameter of a network, and what does not fit.

use crate::model::{CHECKPOINT, EMA, OPTIMIZER};
use crate::{FileError, LayerList, Network, PRESETS, Parameter, Role, TensorFile, UnknownPreset};
use autograd::Buffer;
use std::collections::BTreeMap;

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
    file: &'a TensorFile,
    /// The name of the tensor that is the parameter of this name.
    tensors: BTreeMap<String, String>,
}

/// What PyTorch puts before every name when the network is wrapped (`DataParallel`, `compile`).
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

impl<'a> StateDict<'a> {
    /// The weights of this file. Of a checkpoint (it has a metadata key [`CHECKPOINT`]) the
    /// optimiser's state is left out, and averaged weights are taken where there are such.
    pub fn of(file: &'a TensorFile) -> StateDict<'a> {
        let names = file.names();
        let all = |wrapper: &&&str| names.iter().all(|name| name.starts_with(**wrapper));
        let wrapper = WRAPPERS.iter().find(all).map_or(0, |wrapper| wrapper.len());
        let is_checkpoint = file.metadata().contains_key(CHECKPOINT);
        let own = |name: &&String| {
            !(is_checkpoint && [EMA, OPTIMIZER].iter().any(|part| name.starts_with(part)))
        };
        let (weights, others): (Vec<_>, Vec<_>) = names.iter().partition(own);
        let mut tensors: BTreeMap<String, String> =
            weights.into_iter().map(|name| (name[wrapper..].to_owned(), name.clone())).collect();
        for name in others {
            if let Some(tensor) = name.strip_prefix(EMA).and_then(|own| tensors.get_mut(own)) {
                tensor.clone_from(name);
            }
        }
        StateDict { file, tensors }
    }

    /// The weights of this network, if these are all that it has, and no others. Where the count of
    /// the batches that a batch norm has seen is missing, it is zero.
    pub fn weights(&self, network: &Network) -> Result<Buffer, FileError> {
        self.check(network, &[])?;
        let mut weights = Buffer::zeros(network.len());
        self.read(network, &[], &mut weights)?;
        Ok(weights)
    }

    /// Puts these weights into those of a network. Its last linear layer may have another number of
    /// classes, and then keeps what it has.
    ///
    /// Returns the names of the parameters that were kept.
    pub fn fine_tune(
        &self,
        network: &Network,
        weights: &mut [f32],
    ) -> Result<Vec<String>, FileError> {
        let kept = match head(network) {
            Some(head) if self.differs_in_classes(head) => {
                let layer = head.name.trim_end_matches("weight");
                let own = network.parameters().iter().filter(|p| p.name.starts_with(layer));
                own.map(|p| p.name.clone()).collect()
            }
            _ => vec![],
        };
        self.check(network, &kept)?;
        self.read(network, &kept, weights)?;
        Ok(kept)
    }

    /// The classes of a network of this architecture for these images, by the last linear layer's
    /// weights.
    pub fn classes(&self, architecture: &Architecture, input: [usize; 3]) -> Option<usize> {
        let network = Network::new(input, &architecture.layers.layers(1)).ok()?;
        let head = &head(&network)?.name;
        self.file.shape(self.tensors.get(head)?)?.first().copied()
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
            let differences = self.differences(&network, &[]);
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

    fn differs_in_classes(&self, head: &Parameter) -> bool {
        let found = self.tensors.get(&head.name).and_then(|tensor| self.file.shape(tensor));
        matches!(found, Some([classes, inputs])
            if *classes != head.shape[0] && *inputs == head.shape[1])
    }

    fn check(&self, network: &Network, kept: &[String]) -> Result<(), FileError> {
        let differences = self.differences(network, kept);
        if differences.is_empty() { Ok(()) } else { Err(self.file.problem(listed(&differences))) }
    }

    /// What keeps these from being the weights of this network, without those to be kept.
    fn differences(&self, network: &Network, kept: &[String]) -> Vec<String> {
        let mut differences = vec![];
        for parameter in self.wanted(network, kept) {
            let tensor = self.tensors.get(&parameter.name).unwrap_or(&parameter.name);
            differences.extend(self.file.difference(tensor, parameter));
        }
        let mut known: Vec<&str> = network.parameters().iter().map(|p| &*p.name).collect();
        known.sort_unstable();
        let unknown = self.tensors.keys().filter(|name| known.binary_search(&&***name).is_err());
        differences
            .extend(unknown.map(|name| format!("`{name}` is not a parameter of this network")));
        differences
    }

    fn read(
        &self,
        network: &Network,
        kept: &[String],
        weights: &mut [f32],
    ) -> Result<(), FileError> {
        for parameter in self.wanted(network, kept) {
            match self.tensors.get(&parameter.name) {
                Some(tensor) => self.file.copy(tensor, parameter, weights)?,
                None => parameter.place.of_mut(weights).fill(0.0),
            }
        }
        Ok(())
    }

    /// The parameters that must be in the file, or are.
    fn wanted<'n>(
        &self,
        network: &'n Network,
        kept: &[String],
    ) -> impl Iterator<Item = &'n Parameter> {
        network.parameters().iter().filter(|p| {
            let optional = p.role == Role::BatchesTracked && !self.tensors.contains_key(&p.name);
            !kept.contains(&p.name) && !optional
        })
    }
}

/// The weight of the last linear layer.
fn head(network: &Network) -> Option<&Parameter> {
    let is_linear = |p: &&Parameter| matches!(p.role, Role::Weight { .. }) && p.shape.len() == 2;
    network.parameters().iter().rfind(is_linear)
}

/// The first few of many problems.
fn listed(differences: &[String]) -> String {
    let shown = differences[..differences.len().min(3)].join("; ");
    match differences.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}
