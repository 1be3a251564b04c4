//! The state of a run: what a checkpoint holds, and going on from one.

use super::{Progress, Trainer};
use crate::checkpoint::{Checkpoint, CheckpointError};
use model::{EMA, Model, OPTIMIZER};
use std::collections::BTreeMap;

impl Trainer<'_> {
    /// Takes over the state in a checkpoint.
    pub(super) fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let file = checkpoint.file();
        if checkpoint.data() != self.data_fingerprint() {
            let data = self.data.directory().to_owned();
            return Err(CheckpointError::Data { path: checkpoint.path().to_owned(), data });
        }
        let weights = file.buffer(&self.network, "", self.network.len())?;
        let mut states = vec![];
        for (name, state) in self.optimizer.state() {
            let prefix = format!("{OPTIMIZER}{name}.");
            states.push((name, file.buffer(&self.network, &prefix, state.len())?));
        }
        let ema = match &self.ema {
            Some(_) => Some(file.buffer(&self.network, EMA, self.network.len())?),
            None => None,
        };
        let progress = checkpoint.progress();
        let planned = progress.epoch * self.steps_per_epoch + progress.batch;
        if progress.step != planned || progress.batch >= self.steps_per_epoch {
            let problem = format!(
                "step {} is not batch {} of epoch {}, of {} batches each",
                progress.step,
                progress.batch,
                progress.epoch + 1,
                self.steps_per_epoch
            );
            return Err(file.problem(problem).into());
        }
        // From here on nothing can fail.
        self.weights = weights;
        for (name, state) in states {
            self.optimizer.restore(name, &state);
        }
        if let (Some(own), Some(ema)) = (&mut self.ema, &ema) {
            own.restore(ema);
        }
        self.go_on_from(progress);
        Ok(())
    }

    /// Takes over how far training has come.
    pub(super) fn go_on_from(&mut self, progress: &Progress) {
        if let Some(plateau) = &progress.plateau {
            self.schedule.restore(plateau.clone());
        }
        self.progress = progress.clone();
        // More epochs than before: a run that had ended goes on.
        self.order.epoch = None;
    }

    /// The optimiser's memory by PyTorch's names, each laid out as the trained weights.
    pub fn optimizer_state(&self) -> Vec<(&'static str, &[f32])> {
        self.optimizer.state()
    }

    /// The averaged weights, if the recipe has `optimizer.ema`. Before the first step they are the
    /// weights, whatever has been made of those.
    pub fn ema(&self) -> Option<&[f32]> {
        let started = self.progress.step > 0;
        self.ema.as_ref().map(|ema| if started { ema.weights() } else { &self.weights })
    }

    /// The weights to validate and to save: the averaged ones, if there are.
    pub fn evaluation_weights(&self) -> &[f32] {
        self.ema().unwrap_or(&self.weights)
    }

    /// The network as it is now, with [`Trainer::evaluation_weights`].
    pub fn model(&self) -> Model {
        let mut weights = self.weights.clone();
        weights.copy_from_slice(self.evaluation_weights());
        Model {
            preset: self.preset.clone(),
            network: self.network.clone(),
            weights,
            classes: self.data.class_names().to_vec(),
            mean: self.moments.mean.clone(),
            std: self.moments.std.clone(),
        }
    }

    /// The metadata of [`Trainer::model`].
    pub(crate) fn description(&self) -> BTreeMap<String, String> {
        self.model().metadata()
    }

    /// The fingerprint of the data, found when it is first asked for.
    pub(crate) fn data_fingerprint(&self) -> &str {
        self.fingerprint.get_or_init(|| self.data.fingerprint())
    }
}
