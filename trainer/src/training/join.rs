//! A trainer as one of several ranks.

use super::{Progress, Trainer};
use crate::data::Dataset;
use crate::error::TrainError;
use crate::ranks::{Communicator, Identity, Ranks, broadcast, broadcast_text};
use crate::recipe::Recipe;
use crate::workers::Workers;

impl<'a> Trainer<'a> {
    /// One that is to join others ([`Trainer::join_ranks`]) and to have its state from them: it needs
    /// neither a checkpoint nor the weights that the recipe starts from.
    pub fn to_join(
        recipe: &Recipe,
        data: &'a Dataset,
        workers: &'a Workers,
    ) -> Result<Trainer<'a>, TrainError> {
        Trainer::unstarted(recipe, data, workers)
    }

    /// Trains with other ranks from now on, from the state of rank 0: every rank does a share of each
    /// step and of each validation, and has the weights that one process alone would have.
    ///
    /// An error, the same on all ranks, if recipes (but for `data.directory`), data, versions or the
    /// arithmetic of SIMD paths differ.
    pub fn join_ranks(&mut self, communicator: &'a dyn Communicator) -> Result<(), TrainError> {
        if communicator.size() > 1 {
            let (isa, data) = (self.workers.isa(), self.data_fingerprint());
            let identity = Identity::new(isa, &self.recipe, data);
            identity
                .differences(communicator)
                .map_or(Ok(()), |text| Err(TrainError::Ranks(text)))?;
            self.take_state(communicator);
        }
        self.ranks = Ranks::new(communicator);
        Ok(())
    }

    /// The ranks that it trains with.
    pub fn communicator(&self) -> &'a dyn Communicator {
        self.ranks.communicator()
    }

    /// How many ranks have nothing to do in a step, because a batch has fewer shards than there are
    /// ranks.
    pub fn idle_ranks(&self) -> usize {
        let batch = self.recipe.data.batch_size.min(self.training.len());
        self.communicator().size().saturating_sub(batch.div_ceil(self.recipe.shard()))
    }

    /// Makes the state of rank 0 its own.
    fn take_state(&mut self, communicator: &dyn Communicator) {
        let progress = serde_json::to_string(&self.progress).expect("plain values");
        let progress = broadcast_text(communicator, &progress);
        broadcast(communicator, &mut self.weights);
        let states: Vec<_> = self.optimizer.state();
        let states: Vec<_> = states.into_iter().map(|(name, s)| (name, s.to_vec())).collect();
        for (name, mut state) in states {
            broadcast(communicator, &mut state);
            self.optimizer.restore(name, &state);
        }
        if let Some(ema) = &mut self.ema {
            let mut weights = ema.weights().to_vec();
            broadcast(communicator, &mut weights);
            ema.restore(&weights);
        }
        if communicator.rank() > 0 {
            let progress: Progress = serde_json::from_str(&progress).expect("of this version");
            self.go_on_from(&progress);
        }
    }
}
