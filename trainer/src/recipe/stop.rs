//! When training ends, and what happens on the way.

use super::RecipeError;
use super::check::{count, not_negative, positive, require};
use serde::{Deserialize, Serialize};

/// When training ends: at the first of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct StopSection {
    /// Passes over the training images.
    pub epochs: usize,
    /// Optimiser steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<usize>,
    /// The fraction of the validation images to classify correctly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_accuracy: Option<f64>,
    /// The mean training loss of an epoch to reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_loss: Option<f64>,
    /// Validations without improvement after which training ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// The smallest change that counts as an improvement, for `patience`.
    pub min_delta: f64,
    /// What must improve, for `patience`, the best weights and the schedule `plateau`.
    pub monitor: Monitor,
}

/// A result of validation to monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Monitor {
    /// The mean loss.
    Loss,
    /// The fraction of the images that is classified correctly.
    Accuracy,
    /// The mean recall of the classes: see [`Metrics::balanced_accuracy`](crate::scores::Metrics).
    BalancedAccuracy,
    /// The mean F1 of the classes.
    MacroF1,
    /// The area under the ROC curve of the second of two classes.
    Auc,
}

impl Monitor {
    /// How much better a value is than another.
    pub(crate) fn gain(self, value: f64, than: f64) -> f64 {
        if self == Monitor::Loss { than - value } else { value - than }
    }
}

/// What happens during training.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct EventsSection {
    /// How often to validate. The end is always validated.
    pub validate: Every,
    /// How often to write a checkpoint, besides those of the start and the end.
    pub checkpoint: Every,
}

/// How often something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", from = "Written")]
pub enum Every {
    /// At the end of every so many epochs.
    Epochs(usize),
    /// After every so many optimiser steps.
    Iterations(usize),
}

/// [`Every`] as a recipe has it; a type of its own for the sake of what is said of others.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "expected { epochs = N } or { iterations = N }")]
enum Written {
    Epochs { epochs: usize },
    Iterations { iterations: usize },
}

impl From<Written> for Every {
    fn from(written: Written) -> Every {
        match written {
            Written::Epochs { epochs } => Every::Epochs(epochs),
            Written::Iterations { iterations } => Every::Iterations(iterations),
        }
    }
}

impl Default for StopSection {
    fn default() -> Self {
        StopSection {
            epochs: 10,
            iterations: None,
            target_accuracy: None,
            min_loss: None,
            patience: None,
            min_delta: 0.0,
            monitor: Monitor::Loss,
        }
    }
}

impl Default for EventsSection {
    fn default() -> Self {
        EventsSection { validate: Every::Epochs(1), checkpoint: Every::Epochs(1) }
    }
}

impl StopSection {
    pub(super) fn check(&self) -> Result<(), RecipeError> {
        count("stop.epochs", self.epochs)?;
        if let Some(iterations) = self.iterations {
            let possible = (1..=1 << 40).contains(&iterations);
            let expected = "a whole number from 1 to 1099511627776";
            require(possible, "stop.iterations", iterations, expected)?;
        }
        if let Some(accuracy) = self.target_accuracy {
            let possible = 0.0 < accuracy && accuracy <= 1.0;
            let expected = "a part of the images, above 0 and up to 1";
            require(possible, "stop.target_accuracy", accuracy, expected)?;
        }
        self.min_loss.map_or(Ok(()), |loss| positive("stop.min_loss", loss))?;
        self.patience.map_or(Ok(()), |patience| count("stop.patience", patience))?;
        not_negative("stop.min_delta", self.min_delta)
    }
}

impl EventsSection {
    pub(super) fn check(&self) -> Result<(), RecipeError> {
        for (field, every) in
            [("events.validate", self.validate), ("events.checkpoint", self.checkpoint)]
        {
            let (Every::Epochs(n) | Every::Iterations(n)) = every;
            count(field, n)?;
        }
        Ok(())
    }
}

impl Every {
    /// Whether it is time after this many steps in all, the last of which ended epoch `epochs` if
    /// there is one.
    pub(crate) fn is_due(self, steps: usize, ended: Option<usize>) -> bool {
        match self {
            Every::Iterations(n) => steps.is_multiple_of(n),
            Every::Epochs(n) => ended.is_some_and(|epochs| epochs.is_multiple_of(n)),
        }
    }
}
