//! Whether the running statistics of batch norm are those of images, as evaluation needs them.

use super::{Network, Node};
use crate::layers::Kind;
use crate::parameter::Parameter;
use autograd::BatchNorm;
use std::cell::LazyCell;
use thiserror::Error;

/// Batch norm that evaluation cannot use: its running statistics are not those of any images.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
#[error("batch norm {layer} {problem}")]
pub struct StatisticsError {
    /// The layer's name.
    pub layer: String,
    /// What is wrong.
    pub problem: &'static str,
}

/// How the statistics of a batch norm move at each step: a running one r to `kept` · r + `momentum` · b, where b is
/// what the tape has found of the batch; the number of batches by `uses`.
///
/// A batch norm that is used again sees as many batches in a step, one after another: `kept` is (1 − momentum) to the
/// power of `uses`, and in b each counts for what those after it leave of it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Movement {
    /// What is left of a running statistic.
    pub kept: f32,
    /// What it takes of the batch.
    pub momentum: f32,
    /// How often the network uses the batch norm.
    pub uses: u32,
}

impl Network {
    /// Checks that these weights have running statistics wherever batch norm has been trained, as
    /// [`Network::forward`] needs them in evaluation. (A network that has not been trained needs none.)
    ///
    /// # Errors
    /// If running statistics have stayed where they began though the layer's scale or shift has moved, or
    /// [`Network::forward`] has been trained on with weights that have; or if they have been moved as if they were
    /// weights. Weights given by [`Network::initialise`] or to [`Network::note_initial`] need no running statistics.
    pub fn check_statistics(&self, weights: &[f32]) -> Result<(), StatisticsError> {
        let doubted = LazyCell::new(|| self.witness.doubts(&weights[..self.trained]));
        let initial = LazyCell::new(|| self.witness.is_initial(&weights[..self.trained]));
        let needed = |norm: &BatchNorm| is_trained(norm, weights) && !*initial || *doubted;
        self.check_norms(|node, norm| self.check_norm(node, norm, weights, &needed))
    }

    /// Whether these weights pass [`Network::check_statistics`] for no other reason than that they were noted as
    /// initial: a file of them has to say so.
    pub(crate) fn is_untrained(&self, weights: &[f32]) -> bool {
        let untrained = |norm: &BatchNorm| is_unmoved(norm, weights) && is_trained(norm, weights);
        let found = self.check_norms(|_, norm| if untrained(norm) { Err(()) } else { Ok(()) });
        found.is_err() && self.witness.is_initial(&weights[..self.trained])
    }

    /// The name of the first batch norm whose running statistics are those of an initialisation: no batch has
    /// moved them. Of a network that has not been trained they are; of any other, its outputs are wrong.
    pub fn unmoved_statistics(&self, weights: &[f32]) -> Option<&str> {
        let found =
            self.check_norms(
                |node, norm| {
                    if is_unmoved(norm, weights) { Err(node.number) } else { Ok(()) }
                },
            );
        found.err().map(|number| self.layer_name(number))
    }

    /// How this statistic of a batch norm moves; `None` if it is none.
    pub fn movement(&self, statistic: &Parameter) -> Option<Movement> {
        let first = self.nodes.iter().find_map(|node| match &node.kind {
            Kind::BatchNorm2d(norm) => node.params.contains(&statistic.place).then_some(norm),
            _ => None,
        });
        let norm = first.filter(|_| !statistic.role.is_trained())?;
        let uses = 1 + norm.later;
        Some(Movement { kept: norm.kept(uses), momentum: norm.momentum, uses })
    }

    /// Takes note of weights that are trained on: of a loop that leaves running statistics out,
    /// [`Network::check_statistics`] is to tell. After a first step that is right there is nothing to note.
    pub(crate) fn note_training(&self, weights: &[f32]) {
        if self.unmoved_statistics(weights).is_some() {
            self.witness.note(&weights[..self.trained]);
        }
    }

    /// Takes note of initial weights, as [`Network::initialise`] does of its own: training may begin with them,
    /// whatever the scale and shift of batch norm, and [`Network::check_statistics`] expects no running
    /// statistics of them.
    ///
    /// # Panics
    /// If `weights` is shorter than the network's.
    pub fn note_initial(&self, weights: &[f32]) {
        if self.unmoved_statistics(weights).is_some() {
            self.witness.note_initial(&weights[..self.trained]);
        }
    }

    /// The first error of any batch norm.
    fn check_norms<E>(&self, f: impl Fn(&Node, &BatchNorm) -> Result<(), E>) -> Result<(), E> {
        self.nodes.iter().try_for_each(|node| match &node.kind {
            Kind::BatchNorm2d(norm) => f(node, &norm.norm(&node.params)),
            _ => Ok(()),
        })
    }

    fn check_norm(
        &self,
        node: &Node,
        norm: &BatchNorm,
        weights: &[f32],
        needed: &dyn Fn(&BatchNorm) -> bool,
    ) -> Result<(), StatisticsError> {
        let problem = match norm.batches.of(weights)[0] {
            batches if batches > 0.0 => return Ok(()),
            batches if batches < 0.0 => {
                "has running statistics that were moved as if they were weights, but \
                 no gradient moves them: make the steps of training with trainer::Optimizer::step"
            }
            // None yet, or (in a file) no number of them.
            _ if is_unmoved(norm, weights) && needed(norm) => {
                "has no running statistics yet, though it has been trained: make the steps of \
                 training with trainer::Optimizer::step, which moves them too"
            }
            _ => return Ok(()),
        };
        Err(StatisticsError { layer: self.layer_name(node.number).to_owned(), problem })
    }
}

/// Whether running mean and variance are those of every initialisation, of no batch.
fn is_unmoved(norm: &BatchNorm, weights: &[f32]) -> bool {
    let all = |param: autograd::Param, value| param.of(weights).iter().all(|own| *own == value);
    norm.batches.of(weights)[0] == 0.0 && all(norm.mean, 0.0) && all(norm.variance, 1.0)
}

/// Whether scale or shift are not those of every initialisation.
fn is_trained(norm: &BatchNorm, weights: &[f32]) -> bool {
    let [scale, shift] = [norm.weight, norm.bias].map(|param| param.of(weights));
    scale.iter().any(|scale| *scale != 1.0) || shift.iter().any(|shift| *shift != 0.0)
}
