//! From the gradient of a batch to new weights.

mod ema;
mod groups;
mod pieces;
mod rule;

pub(crate) use ema::Ema;

use crate::profile::{Chore, Chores, timed};
use crate::recipe::{Recipe, RecipeError};
use autograd::Buffer;
use groups::{Span, spans};
use kernels::Isa;
use model::{Network, Role};
use pieces::{Piece, each_piece};
use rule::{Rule, Setting};

/// What remains of a batch's statistics at each step, as PyTorch's momentum 0.1.
const STATISTICS_MOMENTUM: f32 = 0.1;

/// The optimiser and its state.
///
/// Every part of a step is either of each float by itself or a sum in an order that the lengths decide,
/// so threads change no bit.
pub(crate) struct Optimizer {
    rule: Rule,
    spans: Vec<Span>,
    clip_value: Option<f32>,
    clip_norm: Option<f64>,
    /// As long as the trained part of the weights, or empty where the rule has no such state.
    state: [Buffer; 3],
}

impl Optimizer {
    /// The recipe's optimiser, before the first step.
    pub(crate) fn new(recipe: &Recipe, network: &Network) -> Result<Optimizer, RecipeError> {
        let section = &recipe.optimizer;
        let rule = Rule::new(section);
        let start = rule.start();
        let state = rule.names().map(|name| {
            let mut state = Buffer::zeros(if name.is_some() { network.trained_len() } else { 0 });
            state.fill(start);
            state
        });
        Ok(Optimizer {
            rule,
            spans: spans(section, network)?,
            clip_value: section.clip_value.map(|limit| limit as f32),
            clip_norm: section.clip_norm,
            state,
        })
    }

    /// Step number `step`, from one, with learning rate `lr`; clips the gradients by value where the
    /// recipe does. To be called inside [`crate::Workers::run`].
    #[expect(clippy::too_many_arguments, reason = "a step is made of all of it")]
    pub(crate) fn step(
        &mut self,
        isa: Isa,
        network: &Network,
        step: u64,
        lr: f64,
        weights: &mut [f32],
        gradients: &mut [f32],
        chores: Option<&Chores>,
    ) {
        let (trained, statistics) = weights.split_at_mut(network.trained_len());
        let (of_trained, of_statistics) = gradients.split_at_mut(network.trained_len());
        let gradient_scale = self.clip(isa, of_trained, chores);
        for span in &self.spans {
            let (lr, weight_decay) = (lr * span.lr_scale, span.weight_decay);
            let setting = Setting { lr, weight_decay, gradient_scale, step };
            let update = |piece| {
                timed(chores, Chore::Optimiser, || self.rule.update(isa, &setting, piece));
            };
            let state = self.state.each_mut().map(|state| {
                // What the rule does not have is empty.
                state.get_mut(span.range.clone()).unwrap_or_default()
            });
            let (weights, gradients) =
                (&mut trained[span.range.clone()], &of_trained[span.range.clone()]);
            each_piece(Piece { weights, gradients, state }, &update, &|(), ()| ());
        }
        timed(chores, Chore::Optimiser, || update_statistics(network, statistics, of_statistics));
    }

    /// Clips gradients by value; returns what they are to be multiplied by for the sake of their norm.
    /// As in PyTorch: the value first, and the norm is that of all parameters that are trained.
    fn clip(&self, isa: Isa, gradients: &mut [f32], chores: Option<&Chores>) -> f64 {
        if let Some(limit) = self.clip_value {
            let clamp = |piece: &mut [f32]| {
                timed(chores, Chore::Optimiser, || kernels::clamp(isa, piece, limit));
            };
            for span in &self.spans {
                each_piece(&mut gradients[span.range.clone()], &clamp, &|(), ()| ());
            }
        }
        let Some(limit) = self.clip_norm else { return 1.0 };
        let squares =
            |piece: &[f32]| timed(chores, Chore::Optimiser, || kernels::sum_of_squares(isa, piece));
        let sum = |span: &Span| each_piece(&gradients[span.range.clone()], &squares, &|a, b| a + b);
        let norm = self.spans.iter().map(sum).sum::<f64>().sqrt();
        f64::min(1.0, limit / (norm + 1e-6))
    }

    /// What the next step depends on, under PyTorch's names: each as long as the trained part of the
    /// weights, and laid out like it.
    pub(crate) fn state(&self) -> Vec<(&'static str, &[f32])> {
        let state = self.rule.names().into_iter().zip(&self.state);
        state.filter_map(|(name, state)| Some((name?, &**state))).collect()
    }

    /// Takes over the values of [`Optimizer::state`] with this name. Returns whether the rule has such
    /// state, of this length.
    pub(crate) fn restore(&mut self, name: &str, values: &[f32]) -> bool {
        let names = self.rule.names();
        let found = names.iter().zip(&mut self.state).find(|(known, _)| **known == Some(name));
        match found {
            Some((_, state)) if state.len() == values.len() => {
                state.copy_from_slice(values);
                true
            }
            _ => false,
        }
    }
}

/// The running statistics take one step towards those of the batch, which the shards have put where
/// gradients would be.
fn update_statistics(network: &Network, running: &mut [f32], batch: &[f32]) {
    for parameter in network.parameters().iter().filter(|p| !p.role.is_trained()) {
        let start = parameter.place.offset - network.trained_len();
        let range = start..start + parameter.place.len;
        for (running, batch) in running[range.clone()].iter_mut().zip(&batch[range]) {
            if parameter.role == Role::BatchesTracked {
                *running += 1.0;
            } else {
                *running = (1.0 - STATISTICS_MOMENTUM) * *running + STATISTICS_MOMENTUM * batch;
            }
        }
    }
}

#[cfg(test)]
mod tests;
