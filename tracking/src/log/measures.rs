//! Measures of a validation besides loss and accuracy, as a line of `metrics.jsonl` has them.

use serde::{Deserialize, Serialize};
use trainer::Evaluation;

/// Measures of a validation besides loss and accuracy: those of [`Metrics`](trainer::scores::Metrics). None in
/// logs that are older than they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// The mean recall of the classes.
    pub balanced_accuracy: Option<f64>,
    /// The mean F1 of the classes.
    pub macro_f1: Option<f64>,
    /// The area under the ROC curve of the second of two classes.
    pub auc: Option<f64>,
    /// The expected calibration error.
    pub ece: Option<f64>,
}

impl Measures {
    /// Those that a validation has found.
    #[must_use]
    pub fn of(found: &Evaluation) -> Measures {
        let metrics = found.metrics;
        Measures {
            balanced_accuracy: metrics.map(|metrics| metrics.balanced_accuracy),
            macro_f1: metrics.map(|metrics| metrics.macro_f1),
            auc: metrics.and_then(|metrics| metrics.auc),
            ece: metrics.map(|metrics| metrics.ece),
        }
    }
}
