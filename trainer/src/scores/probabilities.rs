//! What logits say of classes: their order, and how probable each is.

/// How many classes come before the label when they are ordered by their logits, the largest first
/// and of equal ones the lower class first. 0: the label is what the network says (top-1); below 5:
/// it is among the first five (top-5). Nothing comes after a logit that is not a number.
pub fn rank(logits: &[f32], label: usize) -> usize {
    let of_label = logits[label];
    let after = |(class, &logit): (usize, &f32)| {
        logit < of_label || (logit == of_label && class > label) || class == label
    };
    logits.iter().enumerate().filter(|&class| !after(class)).count()
}

/// Classes and their probabilities (softmax), ordered as in [`rank`].
pub fn probabilities(logits: &[f32]) -> Vec<(usize, f64)> {
    let mut classes: Vec<(usize, f64)> = softmax(logits).enumerate().collect();
    classes.sort_by_key(|&(class, _)| rank(logits, class));
    classes
}

/// Labels and their probabilities where an image may have several, each by itself; ordered alike.
pub fn label_probabilities(logits: &[f32]) -> Vec<(usize, f64)> {
    let of = |&logit: &f32| label_probability(logit);
    let mut labels: Vec<(usize, f64)> = logits.iter().map(of).enumerate().collect();
    labels.sort_by_key(|&(label, _)| rank(logits, label));
    labels
}

/// The probability of a label of which an image may have several: 1 / (1 + e⁻ˣ).
pub fn label_probability(logit: f32) -> f64 {
    1.0 / (1.0 + libm::exp(-f64::from(logit)))
}

/// The probabilities of the classes, in their order.
pub fn softmax(logits: &[f32]) -> impl Iterator<Item = f64> {
    let softmax = Softmax::new(logits);
    logits.iter().map(move |&logit| libm::exp(softmax.ln(logit)))
}

/// The most probable class, the first of equal ones; of finite logits.
pub fn most_probable(logits: &[f32]) -> usize {
    let larger = |best, class| if logits[class] > logits[best] { class } else { best };
    (1..logits.len()).fold(0, larger)
}

/// Probabilities of logits. The largest is kept apart: added to the logarithm of the sum, it would
/// swallow it where logits are huge.
pub(super) struct Softmax {
    largest: f64,
    ln_sum: f64,
}

impl Softmax {
    pub fn new(logits: &[f32]) -> Softmax {
        let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = logits.iter().map(|&logit| libm::exp(f64::from(logit) - largest)).sum();
        Softmax { largest, ln_sum: libm::log(sum) }
    }

    /// The logarithm of the probability of the class with this logit.
    pub fn ln(&self, logit: f32) -> f64 {
        f64::from(logit) - self.largest - self.ln_sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_are_ranked_by_class() {
        let logits = [1.0, 3.0, 3.0, -0.0, 0.0];
        assert_eq!([0, 1, 2, 3, 4].map(|label| rank(&logits, label)), [2, 0, 1, 3, 4]);
        assert_eq!([0, 1].map(|label| rank(&[f32::NAN, 1.0], label)), [1, 1]);
        let order: Vec<usize> = probabilities(&logits).iter().map(|(class, _)| *class).collect();
        assert_eq!(order, [1, 2, 0, 3, 4]);
        assert_eq!(most_probable(&logits), 1);
        for (class, p) in probabilities(&logits) {
            assert_eq!(softmax(&logits).nth(class).map(f64::to_bits), Some(p.to_bits()));
        }
    }

    #[test]
    fn probabilities_sum_to_one_whatever_the_size_of_logits() {
        let by_hand = probabilities(&[2f32.ln(), 0.0, 0.0]);
        for ((class, p), expected) in by_hand.into_iter().zip([(0, 0.5), (1, 0.25), (2, 0.25)]) {
            assert!(class == expected.0 && (p - expected.1).abs() < 1e-7, "{class} {p}");
        }
        for logits in [[3e38, -3e38, 0.0], [-3e38; 3], [1e-30, 0.0, -1e-30]] {
            let sum: f64 = probabilities(&logits).iter().map(|(_, p)| p).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{logits:?}: {sum}");
        }
    }

    #[test]
    fn labels_are_probable_by_themselves() {
        let found = label_probabilities(&[0.0, 3f32.ln(), -1000.0, 1000.0]);
        assert_eq!(found.iter().map(|(label, _)| *label).collect::<Vec<_>>(), [3, 1, 0, 2]);
        for ((_, p), expected) in found.iter().zip([1.0, 0.75, 0.5, 0.0]) {
            assert!((p - expected).abs() < 1e-7, "{found:?}");
        }
    }
}
