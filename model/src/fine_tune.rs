//! Weights to start from: taken over whole, but for a last layer that is for other classes.

use crate::names::is_of_model;
use crate::{Network, Parameter, StateDict};
use files::FileError;
use std::fmt;

/// What [`StateDict::fine_tune`] took over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FineTuned {
    /// The names of the parameters that keep what they had: those of the last layer, or none.
    pub fresh: Vec<String>,
    /// Why the last layer keeps what it had, or why it was taken over although that may be wrong.
    pub reason: Option<String>,
    /// By what the images that the file's network was trained on differ from those that it is to be trained on:
    /// [`StateDict::fine_tune`] sees none of either, and finds nothing.
    pub differences: Vec<String>,
}

impl fmt::Display for FineTuned {
    /// What is to be said of it, on one line; nothing if everything was taken over, and rightly so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(reason) = &self.reason else { return Ok(()) };
        match &self.fresh[..] {
            [] => f.write_str(reason),
            fresh => write!(f, "{} start at random: {reason}", fresh.join(", ")),
        }
    }
}

impl StateDict<'_> {
    /// Puts these weights into those of a network for these classes. Its last layer keeps what it has if the
    /// file's is for other classes: another number, other names, or the same in another order. A file
    /// without names, such as PyTorch's, is taken to have the same if it has as many.
    pub fn fine_tune(
        &self,
        network: &Network,
        weights: &mut [f32],
        classes: &[String],
    ) -> Result<FineTuned, FileError> {
        let tuned = match network.head() {
            Some(head) => self.compare(network, head, classes)?,
            None => self.without_head(classes)?,
        };
        let named = self.named(network);
        named.check(&tuned.fresh)?;
        named.read(&tuned.fresh, weights)?;
        Ok(tuned)
    }

    /// What the classes of the file mean for the last layer, whose weight is `head`.
    fn compare(
        &self,
        network: &Network,
        head: &Parameter,
        classes: &[String],
    ) -> Result<FineTuned, FileError> {
        let layer = |p: &Parameter| p.name.rsplit_once('.').map(|(layer, _)| layer.to_owned());
        let own = network.parameters().iter().filter(|p| layer(p) == layer(head));
        let fresh: Vec<String> = own.map(|p| p.name.clone()).collect();
        let named = self.named(network);
        let shape = named.tensor(head).and_then(|tensor| self.file.shape(tensor));
        let outputs = shape.filter(|shape| shape.get(1..) == Some(&head.shape[1..]));
        let differs = |reason| Ok(FineTuned { fresh, reason: Some(reason), differences: vec![] });
        match (outputs, self.class_names()?) {
            (Some([outputs, ..]), _) if *outputs != head.shape[0] => {
                differs(format!("the file has {outputs} classes, the data have {}", head.shape[0]))
            }
            (_, Some(names)) => match difference(&names, classes) {
                Some(reason) => differs(reason),
                None => Ok(FineTuned::default()),
            },
            (_, None) => {
                let reason =
                    "the file does not name its classes, which are taken to be those of the data";
                Ok(FineTuned { reason: Some(reason.to_owned()), ..FineTuned::default() })
            }
        }
    }

    /// The same for a network whose last layer has no weights of its own.
    fn without_head(&self, classes: &[String]) -> Result<FineTuned, FileError> {
        let differs = self.class_names()?.and_then(|names| difference(&names, classes));
        let reason = differs
            .map(|reason| format!("{reason}, but there is no last layer to start at random"));
        Ok(FineTuned { reason, ..FineTuned::default() })
    }

    /// The names of the classes, if it is a model's file.
    fn class_names(&self) -> Result<Option<Vec<String>>, FileError> {
        let metadata = self.file.metadata();
        if !is_of_model(metadata) {
            return Ok(None);
        }
        let names = serde_json::from_str(&metadata["classes"]);
        names
            .map(Some)
            .map_err(|_| self.file.problem("metadata `classes`: expected a JSON array of names"))
    }
}

impl Network {
    /// The weight of the last layer, if that is a convolution or linear layer that gives the classes. (Layers
    /// without weights may come after it, but no sum of layers.)
    pub(crate) fn head(&self) -> Option<&Parameter> {
        let mut value = self.nodes.len();
        loop {
            let node = &self.nodes[value.checked_sub(1)?];
            if node.kind.is_affine() {
                let weight = self.parameters().iter().find(|p| p.place == node.params[0]);
                return weight.filter(|weight| weight.shape[0] == self.classes());
            }
            let [before] = node.inputs[..] else { return None };
            value = before;
        }
    }
}

/// By what the classes of the file differ from those of the data, if they do.
fn difference(file: &[String], data: &[String]) -> Option<String> {
    if file.len() != data.len() {
        return Some(format!("the file has {} classes, the data have {}", file.len(), data.len()));
    }
    let (class, (ours, theirs)) = file.iter().zip(data).enumerate().find(|(_, (a, b))| a != b)?;
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    let order =
        if sorted(file) == sorted(data) { " (the same classes in another order)" } else { "" };
    Some(format!("class {class} is {ours:?} in the file and {theirs:?} in the data{order}"))
}
