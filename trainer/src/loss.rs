//! The loss of a run on its data: what it is of, and what each class counts for.

use crate::recipe::{ClassWeights, LossName, Recipe, RecipeError};
use dataset::{Dataset, Split};
use kernels::{Activation, Loss, LossKind};
use model::{Kind, Network, Softmax};

/// The loss of a run on its data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClassLoss {
    kind: LossKind,
    smoothing: f32,
    /// By class, if they differ.
    weights: Option<Vec<f32>>,
    /// Whether targets are probabilities, as of mixed images, or several to an image.
    rows: bool,
}

impl ClassLoss {
    /// The recipe's, for these training images. An error if it is not one for their classes, or for the
    /// network.
    pub fn new(
        recipe: &Recipe,
        network: &Network,
        data: &Dataset,
        (train, training): (&Split, &[u32]),
    ) -> Result<ClassLoss, RecipeError> {
        let model = &recipe.model;
        let kind = kind(model.loss);
        let multi_label = data.is_multi_label();
        check_network(model.loss, network, multi_label.then(|| data.classes()))?;
        let weights = match &model.class_weights {
            None => None,
            Some(ClassWeights::Balanced(_)) if multi_label => {
                let expected = "a list of numbers, one for each label, as images may have several";
                return Err(RecipeError::value("model.class_weights", "\"balanced\"", expected));
            }
            Some(ClassWeights::Balanced(_)) => Some(match data.share() {
                Some(share) => balanced(share.labels.iter().copied(), data.classes()),
                None => {
                    let labels = training.iter().map(|&i| train.label(i as usize));
                    balanced(labels, data.classes())
                }
            }),
            Some(ClassWeights::List(weights)) => {
                check_list(weights, data.class_names())?;
                Some(weights.iter().map(|weight| *weight as f32).collect())
            }
        };
        let smoothing = model.label_smoothing as f32;
        let rows = recipe.augment.mixes() || multi_label;
        Ok(ClassLoss { kind, smoothing, weights, rows })
    }

    /// As the kernel takes it.
    pub fn of_training(&self) -> Loss<'_> {
        Loss { kind: self.kind, smoothing: self.smoothing, weights: self.weights.as_deref() }
    }

    /// The loss that tells how good a network is: neither smoothed nor weighted.
    pub fn of_evaluation(&self) -> Loss<'static> {
        Loss { kind: self.kind, ..Loss::CROSS_ENTROPY }
    }

    /// What the sum of the losses of a batch is divided by: the sum of the weights of its labels, or the number
    /// of its images where there are no weights, or, as in PyTorch, where targets are probabilities or of several
    /// labels. It depends on the whole batch, and so neither on shards nor on ranks.
    pub fn divisor(&self, labels: impl ExactSizeIterator<Item = u32>) -> f32 {
        let images = labels.len() as f32;
        let Some(weights) = self.weights.as_ref().filter(|_| !self.rows) else { return images };
        let sum: f64 = labels.map(|label| f64::from(weights[label as usize])).sum();
        // Images that count for nothing have no loss but what label smoothing gives to other classes: that is divided
        // by their number.
        if sum > 0.0 { sum as f32 } else { images }
    }
}

fn kind(name: LossName) -> LossKind {
    match name {
        LossName::CrossEntropy => LossKind::CrossEntropy,
        LossName::Nll => LossKind::Nll,
        LossName::Bce => LossKind::Bce,
    }
}

/// That the loss is one for the classes of these data.
pub(crate) fn check_classes(loss: LossName, data: &Dataset) -> Result<(), RecipeError> {
    let classes = data.classes();
    if data.is_multi_label() {
        let found = format!("\"{loss}\"");
        let expected =
            "\"bce\" (binary cross-entropy), as images of these data may have several labels";
        return match loss {
            LossName::Bce => Ok(()),
            _ => Err(RecipeError::value("model.loss", found, expected)),
        };
    }
    if loss != LossName::Bce || classes == 2 {
        return Ok(());
    }
    let expected = format!(
        "\"cross-entropy\", as the data have {classes} classes: binary cross-entropy has one output, for two (or an \
         output for each label, where images may have several)"
    );
    Err(RecipeError::value("model.loss", "\"bce\"", expected))
}

/// That the outputs of the network are those of which the loss is; `labels` is how many there are to choose from where
/// images may have several.
fn check_network(
    loss: LossName,
    network: &Network,
    labels: Option<usize>,
) -> Result<(), RecipeError> {
    let outputs = network.classes();
    let last = network.layers().last().map(|layer| &layer.kind);
    let ends_in_logarithms = matches!(last, Some(Kind::Softmax(Softmax { log: true })));
    let ends_in_sigmoid = matches!(last, Some(Kind::Activation(Activation::Sigmoid)));
    match loss {
        // As for PyTorch's `BCELoss`. It would be a sigmoid of a sigmoid: never below 0.5, however sure of no.
        LossName::Bce if ends_in_sigmoid => {
            let expected = "layers without the `sigmoid` at their end: binary cross-entropy is of \
                            logits, and has a sigmoid itself";
            Err(RecipeError::value("model.loss", "\"bce\"", expected))
        }
        LossName::Bce if labels == Some(outputs) => Ok(()),
        LossName::Bce if labels.is_some() => {
            let labels = labels.unwrap_or_default();
            let expected = format!("a network of {labels} outputs, one for each label of the data");
            Err(RecipeError::value("model.layers", format!("{outputs} outputs"), expected))
        }
        LossName::Bce if outputs != 1 => {
            let expected = format!(
                "\"cross-entropy\", as the network has {outputs} outputs: binary cross-entropy has one, for \
                 two classes"
            );
            Err(RecipeError::value("model.loss", "\"bce\"", expected))
        }
        LossName::Nll if !ends_in_logarithms => {
            let expected = "\"cross-entropy\", as the network does not end in a `log-softmax`";
            Err(RecipeError::value("model.loss", "\"nll\"", expected))
        }
        _ => Ok(()),
    }
}

fn check_list(weights: &[f64], names: &[String]) -> Result<(), RecipeError> {
    if weights.len() == names.len() {
        return Ok(());
    }
    let expected = format!("a list of {} numbers, one for each class of the data", names.len());
    Err(RecipeError::value("model.class_weights", format!("{weights:?}"), expected))
}

/// n / (K · n_c) of n images of K classes, of which n_c are of class c: their mean over the images is one
/// (scikit-learn's `compute_class_weight`). A class without images counts for nothing.
fn balanced(labels: impl Iterator<Item = u32>, classes: usize) -> Vec<f32> {
    let mut counts = vec![0usize; classes];
    labels.for_each(|label| counts[label as usize] += 1);
    let (images, found) = (counts.iter().sum::<usize>(), counts.iter().filter(|n| **n > 0).count());
    let weight = |&count: &usize| match count {
        0 => 0.0,
        count => (images as f64 / (found as f64 * count as f64)) as f32,
    };
    counts.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_weights_have_a_mean_of_one() {
        let labels = [0, 0, 0, 0, 0, 0, 2, 2, 3];
        let weights = balanced(labels.into_iter(), 4);
        assert_eq!(weights, [0.5, 0.0, 1.5, 3.0]);
        let (kind, smoothing, rows) = (LossKind::CrossEntropy, 0.0, false);
        let loss = ClassLoss { kind, smoothing, weights: Some(weights), rows };
        assert_eq!(loss.divisor(labels.into_iter()), 9.0);
        assert_eq!(loss.divisor([0, 3].into_iter()), 3.5);
        assert_eq!(loss.divisor([1, 1].into_iter()), 2.0, "not zero");
        let plain = ClassLoss { weights: None, ..loss.clone() };
        assert_eq!(plain.divisor([0, 3].into_iter()), 2.0);
        let mixed = ClassLoss { rows: true, ..loss };
        assert_eq!(mixed.divisor([0, 3].into_iter()), 2.0);
    }
}
