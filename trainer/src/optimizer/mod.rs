//! From the gradient of a batch to new weights.

mod ema;
mod groups;
pub(crate) mod pieces;
mod rule;

pub(crate) use ema::Ema;

use crate::profile::{Chore, Chores, timed};
use crate::recipe::{OptimizerSection, RecipeError};
use crate::workers::Workers;
use autograd::Buffer;
use groups::{Span, spans};
use model::{Movement, Network, Parameter, Role};
use pieces::{Piece, each_piece, sum_of_pieces};
use rule::{Rule, Setting};
use std::fmt;
use std::mem::discriminant;
use std::ops::Range;

/// An optimiser with its state: it turns the gradient of a batch into new weights and running statistics.
///
/// A loop of one's own makes its steps with this: [`Optimizer::step`] also moves batch norm's running
/// statistics, which no gradient moves; where they have been moved otherwise or not at all, the network is not
/// evaluated ([`Network::check_statistics`]). (A [`Trainer`](crate::Trainer) does all of it by itself.)
///
/// Every part of a step is either of each float by itself or a sum in an order that the lengths decide,
/// so threads change no bit.
pub struct Optimizer {
    rule: Rule,
    spans: Vec<Span>,
    clip_value: Option<f32>,
    clip_norm: Option<f64>,
    /// As long as the trained part of the weights, or empty where the rule has no such state.
    state: [Buffer; 3],
    /// The number of steps taken.
    steps: u64,
    /// How long the weights and their trained part are.
    lengths: [usize; 2],
    /// Where the statistics of batch norms lie among the weights, how they move, and whether they count batches.
    statistics: Vec<(Range<usize>, Movement, bool)>,
    /// The sums of squares of pieces of the gradient.
    squares: Vec<f64>,
}

impl Optimizer {
    /// The optimiser of a recipe for this network, before the first step.
    ///
    /// An error if a group matches no parameter.
    pub fn new(section: &OptimizerSection, network: &Network) -> Result<Optimizer, RecipeError> {
        let rule = Rule::new(section);
        let start = rule.start();
        let state = rule.names().map(|name| {
            let mut state = Buffer::zeros(if name.is_some() { network.trained_len() } else { 0 });
            state.fill(start);
            state
        });
        let statistics = network.parameters().iter().filter(|p| !p.role.is_trained());
        let place = |p: &Parameter| p.place.offset..p.place.offset + p.place.len;
        let statistics = statistics.filter_map(|p| {
            let counts = p.role == Role::BatchesTracked;
            Some((place(p), network.movement(p)?, counts))
        });
        Ok(Optimizer {
            rule,
            spans: spans(section, network)?,
            clip_value: section.clip_value.map(|limit| limit as f32),
            clip_norm: section.clip_norm,
            state,
            steps: 0,
            lengths: [network.len(), network.trained_len()],
            statistics: statistics.collect(),
            squares: vec![],
        })
    }

    /// Takes these settings from the next step on, with what it remembers.
    ///
    /// An error, with nothing changed, if they are of another rule or one that remembers other things, or a group
    /// matches no parameter.
    pub fn set_section(
        &mut self,
        section: &OptimizerSection,
        network: &Network,
    ) -> Result<(), RecipeError> {
        let rule = Rule::new(section);
        if discriminant(&rule) != discriminant(&self.rule) || rule.names() != self.rule.names() {
            let expected = "the optimiser that training began with, as it has memory";
            return Err(RecipeError::value("optimizer.kind", section.kind, expected));
        }
        self.spans = spans(section, network)?;
        self.rule = rule;
        self.clip_value = section.clip_value.map(|limit| limit as f32);
        self.clip_norm = section.clip_norm;
        Ok(())
    }

    /// The number of steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One step with learning rate `lr`. `weights` and `gradients` are laid out as the network's
    /// parameters, and the gradients are those of a whole batch: the sums over its shards of what
    /// [`Tape::backward`](autograd::Tape::backward) has put there. That includes the batch's statistics,
    /// towards which the running statistics of batch norm move. Where the recipe clips gradients by
    /// value, they are clipped in place. Fastest inside [`Workers::run`].
    ///
    /// # Panics
    /// If `weights` or `gradients` has another length than the network's parameters.
    pub fn step(&mut self, workers: &Workers, lr: f64, weights: &mut [f32], gradients: &mut [f32]) {
        self.step_timed(workers, lr, weights, gradients, None);
    }

    /// [`Optimizer::step`], measured.
    pub(crate) fn step_timed(
        &mut self,
        workers: &Workers,
        lr: f64,
        weights: &mut [f32],
        gradients: &mut [f32],
        chores: Option<&Chores>,
    ) {
        let (isa, [len, trained]) = (workers.isa(), self.lengths);
        assert_eq!([weights.len(), gradients.len()], [len; 2], "weights and gradients, by network");
        self.steps += 1;
        let gradient_scale = self.clip(workers, &mut gradients[..trained], chores);
        for span in &self.spans {
            let (lr, weight_decay) = (lr * span.lr_scale, span.weight_decay);
            let setting = Setting { lr, weight_decay, gradient_scale, step: self.steps };
            let update = |piece| {
                timed(chores, Chore::Optimiser, || self.rule.update(isa, &setting, piece));
            };
            let state = self.state.each_mut().map(|state| {
                // What the rule does not have is empty.
                state.get_mut(span.range.clone()).unwrap_or_default()
            });
            let (weights, gradients) =
                (&mut weights[span.range.clone()], &gradients[span.range.clone()]);
            each_piece(workers, Piece { weights, gradients, state }, &update);
        }
        timed(chores, Chore::Optimiser, || self.update_statistics(weights, gradients));
    }

    /// The running statistics take one step towards those of the batch, which the shards have put where
    /// gradients would be.
    fn update_statistics(&self, weights: &mut [f32], gradients: &[f32]) {
        for (range, Movement { kept, momentum, uses, .. }, counts) in &self.statistics {
            let batch = &gradients[range.clone()];
            for (running, batch) in weights[range.clone()].iter_mut().zip(batch) {
                match counts {
                    false => *running = kept * *running + momentum * batch,
                    true => *running += *uses as f32,
                }
            }
        }
    }

    /// Clips gradients by value; returns what they are to be multiplied by for the sake of their norm.
    /// As in PyTorch: the value first, and the norm is that of all parameters that are trained.
    fn clip(&mut self, workers: &Workers, gradients: &mut [f32], chores: Option<&Chores>) -> f64 {
        let isa = workers.isa();
        if let Some(limit) = self.clip_value {
            let clamp = |piece: &mut [f32]| {
                timed(chores, Chore::Optimiser, || kernels::clamp(isa, piece, limit));
            };
            for span in &self.spans {
                each_piece(workers, &mut gradients[span.range.clone()], &clamp);
            }
        }
        let Some(limit) = self.clip_norm else { return 1.0 };
        let squares =
            |piece: &[f32]| timed(chores, Chore::Optimiser, || kernels::sum_of_squares(isa, piece));
        let room = &mut self.squares;
        let sum =
            |span: &Span| sum_of_pieces(workers, &gradients[span.range.clone()], room, &squares);
        let norm = self.spans.iter().map(sum).sum::<f64>().sqrt();
        f64::min(1.0, limit / (norm + 1e-6))
    }

    /// What the next step depends on, under PyTorch's names: each as long as the trained part of the
    /// weights, and laid out like it. (And [`Optimizer::steps`].)
    pub fn state(&self) -> Vec<(&'static str, &[f32])> {
        let state = self.rule.names().into_iter().zip(&self.state);
        state.filter_map(|(name, state)| Some((name?, &**state))).collect()
    }

    /// Sets the number of steps taken, to continue a run.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// Takes over the values of [`Optimizer::state`] with this name. Returns whether the rule has such
    /// state, of this length.
    pub fn restore(&mut self, name: &str, values: &[f32]) -> bool {
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

impl fmt::Debug for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Optimizer")
            .field("rule", &self.rule)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
