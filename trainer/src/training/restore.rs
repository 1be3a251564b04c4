//! From a trainer to its state, and back.

use super::Trainer;
use crate::progress::Progress;
use crate::state::{RestoreError, State};
use model::Model;
use std::borrow::Cow;

impl Trainer<'_> {
    /// The state as it is now.
    pub fn state(&self) -> State<'_> {
        let owned = |(name, state): (&str, _)| (name.to_owned(), Cow::Borrowed(state));
        State {
            origin: format!("the state after step {}", self.progress.step),
            network: Cow::Borrowed(self.network()),
            weights: Cow::Borrowed(self.weights()),
            optimizer: self.optimizer_state().into_iter().map(owned).collect(),
            ema: self.ema().map(Cow::Borrowed),
            progress: self.progress.clone(),
            recipe: Cow::Borrowed(self.recipe()),
            data: self.data_fingerprint().to_owned(),
            metadata: self.model().metadata(),
        }
    }

    /// Takes over a state. After an error nothing has changed.
    pub(super) fn restore(&mut self, state: &State<'_>) -> Result<(), RestoreError> {
        let origin = || state.origin.clone();
        if state.data != self.data_fingerprint() {
            let data = self.view.data.directory().to_owned();
            return Err(RestoreError::Data { origin: origin(), data });
        }
        let names = self.check_lengths(state)?;
        let Progress { step, epoch, batch, .. } = state.progress;
        let steps_per_epoch = self.plan.steps_per_epoch;
        let steps = epoch.checked_mul(steps_per_epoch).and_then(|steps| steps.checked_add(batch));
        if steps != Some(step) || batch >= steps_per_epoch {
            let (origin, epoch) = (origin(), epoch.saturating_add(1));
            return Err(RestoreError::Position { origin, step, batch, epoch, steps_per_epoch });
        }
        self.take_over(state, &names);
        self.progress = state.progress.clone();
        Ok(())
    }

    /// Takes over weights, the optimiser's memory and the number of steps of a state of this network and optimiser,
    /// for steps of one's own ([`Trainer::step_on`]): whatever its data, and where its epochs were. All ranks must
    /// have the same. After an error nothing has changed.
    pub fn adopt(&mut self, state: &State<'_>) -> Result<(), RestoreError> {
        let names = self.check_lengths(state)?;
        self.take_over(state, &names);
        let Progress { step, handed, .. } = state.progress;
        self.progress = Progress { step, handed, ..Progress::default() };
        Ok(())
    }

    /// The names of the optimiser's memory, if a state is of this network and optimiser.
    fn check_lengths(&self, state: &State<'_>) -> Result<Vec<&'static str>, RestoreError> {
        let origin = || state.origin.clone();
        let network = &self.learner.network;
        if state.network.input() != network.input() || state.network.layers() != network.layers() {
            return Err(RestoreError::Network { origin: origin() });
        }
        let of_optimizer = |name: &str| {
            let found = state.optimizer.iter().find(|(known, _)| known == name);
            found.map_or(&[][..], |(_, values)| values)
        };
        let optimizer = self.optimizer_state();
        let optimizer: Vec<_> =
            optimizer.iter().map(|(name, own)| (*name, of_optimizer(name), own.len())).collect();
        let ema = state.ema.as_deref().unwrap_or_default();
        let own_ema = self.learner.ema.as_ref().map_or(ema.len(), |_| network.len());
        let parts = [("weights", &state.weights[..], network.len()), ("ema", ema, own_ema)];
        for (part, values, expected) in parts.iter().chain(&optimizer) {
            let (part, found, expected) = ((*part).to_owned(), values.len(), *expected);
            if found != expected {
                return Err(RestoreError::Length { origin: origin(), part, found, expected });
            }
        }
        Ok(optimizer.into_iter().map(|(name, ..)| name).collect())
    }

    /// Makes it the trainer's own; all lengths are right.
    fn take_over(&mut self, state: &State<'_>, names: &[&str]) {
        let learner = &mut self.learner;
        learner.weights.copy_from_slice(&state.weights);
        if state.progress.step == 0 {
            learner.network.note_initial(&learner.weights);
        }
        for name in names {
            if let Some((_, values)) = state.optimizer.iter().find(|(known, _)| known == name) {
                learner.optimizer.restore(name, values);
            }
        }
        learner.optimizer.set_steps(state.progress.step as u64);
        if let (Some(own), Some(ema)) = (&mut learner.ema, &state.ema) {
            own.restore(ema);
        }
        if let Some(plateau) = &state.progress.plateau {
            learner.schedule.restore(plateau.clone());
        }
        // More epochs than before: a run that had ended goes on.
        self.buffers.order_of = None;
    }

    /// The network as it is now, with [`Trainer::evaluation_weights`].
    pub fn model(&self) -> Model {
        let mut weights = self.learner.weights.clone();
        weights.copy_from_slice(self.evaluation_weights());
        Model {
            preset: self.recipe().model.name().to_owned(),
            network: self.network().clone(),
            weights,
            classes: self.view.data.class_names().to_vec(),
            multi_label: self.view.data.is_multi_label(),
            mean: self.view.statistics.mean.clone(),
            std: self.view.statistics.std.clone(),
            preparation: self.view.data.preparation(),
        }
    }

    /// The fingerprint of the data, found when it is first asked for.
    pub fn data_fingerprint(&self) -> &str {
        self.view.fingerprint()
    }
}
