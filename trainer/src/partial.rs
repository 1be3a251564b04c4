//! Sums over a part of a batch: what a shard gives, and what the summation tree adds up.

use autograd::Buffer;
use std::sync::{Mutex, PoisonError};

/// The gradient of a part of a batch.
pub(crate) struct PartialGradient {
    /// Laid out as the parameters: the gradient of loss / batch, and each batch norm's statistics.
    pub gradients: Buffer,
    /// The sum of the losses.
    pub loss: f64,
    /// Images whose class was the most probable one.
    pub correct: usize,
}

/// What a part of an evaluation has found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PartialEvaluation {
    /// The sum of the losses.
    pub loss: f64,
    /// Images whose class is the most probable one.
    pub top1: usize,
    /// Images whose class is among the five most probable ones.
    pub top5: usize,
}

impl PartialEvaluation {
    /// How many integers keep every bit of it.
    pub(crate) const WORDS: usize = 3;

    pub(crate) fn join(self, other: PartialEvaluation) -> PartialEvaluation {
        PartialEvaluation {
            loss: self.loss + other.loss,
            top1: self.top1 + other.top1,
            top5: self.top5 + other.top5,
        }
    }

    pub(crate) fn to_words(self) -> [u64; Self::WORDS] {
        [self.loss.to_bits(), self.top1 as u64, self.top5 as u64]
    }

    pub(crate) fn from_words([loss, top1, top5]: [u64; Self::WORDS]) -> PartialEvaluation {
        PartialEvaluation { loss: f64::from_bits(loss), top1: top1 as usize, top5: top5 as usize }
    }
}

/// Gradient buffers that are not in use: as many as were ever needed at once, which is about
/// threads × log₂(shards).
#[derive(Default)]
pub(crate) struct BufferPool(Mutex<Vec<Buffer>>);

impl BufferPool {
    /// A buffer of this length, with anything in it.
    pub(crate) fn take(&self, len: usize) -> Buffer {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        found.filter(|b| b.len() == len).unwrap_or_else(|| Buffer::zeros(len))
    }

    /// Makes sure that as many can be taken without being made then.
    pub(crate) fn reserve(&self, count: usize, len: usize) {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.retain(|buffer| buffer.len() == len);
        while buffers.len() < count {
            buffers.push(Buffer::zeros(len));
        }
    }

    pub(crate) fn put(&self, buffer: Buffer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_evaluations_survive_a_message() {
        let sums = PartialEvaluation { loss: -0.1, top1: 1, top5: 7 };
        assert_eq!(PartialEvaluation::from_words(sums.to_words()), sums);
    }
}
