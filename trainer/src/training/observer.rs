//! What a run tells whoever observes it.

use super::{Step, Trainer};
use crate::error::TrainError;
use crate::evaluation::Evaluation;
use crate::progress::Stop;
use std::ops::ControlFlow;
use std::time::Duration;

/// Whoever is told what happens in a run.
pub trait Observer: Send {
    /// Is told that something has happened. A [`ControlFlow::Break`] ends the run: after a checkpoint,
    /// when everything is done that belongs to the step.
    fn observe(
        &mut self,
        trainer: &Trainer<'_>,
        event: Event<'_>,
    ) -> Result<ControlFlow<()>, TrainError>;
}

impl<F> Observer for F
where
    F: FnMut(&Trainer<'_>, Event<'_>) -> Result<ControlFlow<()>, TrainError> + Send,
{
    fn observe(
        &mut self,
        trainer: &Trainer<'_>,
        event: Event<'_>,
    ) -> Result<ControlFlow<()>, TrainError> {
        self(trainer, event)
    }
}

/// An observer that calls `report` after each epoch.
pub fn each_epoch(mut report: impl FnMut(&Epoch) + Send) -> impl Observer {
    move |_: &Trainer<'_>, event: Event<'_>| {
        if let Event::Epoch(epoch) = event {
            report(epoch);
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
pub enum Event<'e> {
    /// Training begins or goes on.
    Start,
    /// A step is done.
    Step(&'e Step),
    /// The network has been validated.
    Validation(&'e Validated),
    /// An epoch, or the part of one that a run ends in, is done.
    Epoch(&'e Epoch),
    /// The recipe asks for a checkpoint. Training goes on from here as if it had not been interrupted.
    Checkpoint,
    /// Training ends.
    End(Stop),
}

/// What validation found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validated {
    /// The epoch under way or just ended, from one.
    pub epoch: usize,
    /// Loss and accuracy on the validation images.
    pub evaluation: Evaluation,
    /// Whether it is the best so far, by what `stop.monitor` names.
    pub improved: bool,
    /// How long it took.
    pub time: Duration,
}

/// The result of an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Its number, from one.
    pub number: usize,
    /// Mean loss and accuracy on the training images, each as the network was when it met them.
    pub training: Evaluation,
    /// Loss and accuracy on the validation images, if it was validated at its end.
    pub validation: Option<Evaluation>,
    /// The learning rate of its last step.
    pub learning_rate: f64,
    /// Images trained on since the epoch or the run began.
    pub images: usize,
    /// Time spent training them, without validation.
    pub time: Duration,
    /// Time spent on validation and on looking whether every weight is finite.
    pub validation_time: Duration,
    /// Training images per second.
    pub images_per_second: f64,
}
