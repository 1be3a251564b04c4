//! A trainer as one of several ranks.

use super::Trainer;
use crate::error::TrainError;
use crate::ranks::{Communicator, Identity, Ranks, broadcast, broadcast_text};
use crate::state::RestoreError;

impl<'a> Trainer<'a> {
    /// Trains with other ranks from now on, from the state of rank 0: every rank does a partition of each
    /// step and of each validation, and has the weights that one process alone would have.
    ///
    /// An error, the same on all ranks, if recipes (but for `data.directory`), data, versions or the
    /// arithmetic of SIMD paths differ.
    pub fn join_ranks(&mut self, communicator: &'a dyn Communicator) -> Result<(), TrainError> {
        if communicator.size() > 1 {
            let (isa, data) = (self.workers.isa(), self.data_fingerprint());
            let identity = Identity::new(isa, self.recipe(), data);
            identity
                .differences(communicator)
                .map_or(Ok(()), |text| Err(TrainError::Ranks(text)))?;
            self.take_state(communicator)?;
        }
        self.ranks = Ranks::new(communicator, self.workers.isa());
        Ok(())
    }

    /// The ranks that it trains with.
    pub fn communicator(&self) -> &'a dyn Communicator {
        self.ranks.communicator()
    }

    /// How many ranks have nothing to do in a step, because a batch has fewer shards than there are
    /// ranks.
    pub fn idle_ranks(&self) -> usize {
        let batch = self.recipe().data.batch_size.min(self.training_images());
        self.communicator().size().saturating_sub(batch.div_ceil(self.recipe().shard()))
    }

    /// Makes the state of rank 0 its own.
    fn take_state(&mut self, communicator: &dyn Communicator) -> Result<(), RestoreError> {
        let mut state = self.state().into_owned();
        let progress = serde_json::to_string(&state.progress).expect("plain values");
        let progress = broadcast_text(communicator, &progress);
        state.progress = serde_json::from_str(&progress).expect("of this version");
        let optimizer = state.optimizer.iter_mut().map(|(_, values)| values);
        for values in [&mut state.weights].into_iter().chain(optimizer).chain(&mut state.ema) {
            broadcast(communicator, values.to_mut());
        }
        self.restore(&state)
    }
}
