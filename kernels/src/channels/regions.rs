//! Rectangles of output pixels that meet the same taps.

use crate::im2col::{Direction, Tap, classes};
use crate::{Convolution, LANES};
use std::ops::Range;

/// Output pixels whose windows lie inside the image at the same taps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub taps: Range<usize>,
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    /// The input pixel that the first tap of the first pixel meets.
    pub source: [usize; 2],
}

/// Positions along an axis that follow each other, and the source of the first.
struct Run {
    positions: Range<usize>,
    source: usize,
    /// Kernel index and distance of its source.
    taps: Vec<(usize, usize)>,
}

/// The regions of a convolution, and their taps of one input channel: `x` from a pixel's first tap, in floats;
/// `w` from a channel's first weight, in vectors of sixteen outputs.
pub(super) fn regions(convolution: &Convolution) -> (Vec<Tap>, Vec<Region>) {
    let (mut taps, mut regions) = (vec![], vec![]);
    let [_, width] = convolution.input().size();
    let kernel_columns = convolution.window().kernel[1];
    let [rows, columns] = [0, 1].map(|axis| runs(convolution, axis));
    let offset = |floats: usize| u32::try_from(floats).expect("a block is below 2³² floats");
    for row in &rows {
        for column in &columns {
            let first = taps.len();
            for &(ky, dy) in &row.taps {
                for &(kx, dx) in &column.taps {
                    let x = offset((dy * width + dx) * LANES);
                    taps.push(Tap { x, w: offset((ky * kernel_columns + kx) * LANES) });
                }
            }
            regions.push(Region {
                taps: first..taps.len(),
                rows: row.positions.clone(),
                columns: column.positions.clone(),
                source: [row.source, column.source],
            });
        }
    }
    (taps, regions)
}

impl Run {
    /// Whether this position follows, a stride after the last. (A mirrored image is run through backwards.)
    fn continues(&self, position: usize, source: usize, stride: usize) -> bool {
        let steps = position - self.positions.start;
        position == self.positions.end
            && (self.taps.is_empty() || source == self.source + steps * stride)
    }
}

fn runs(convolution: &Convolution, axis: usize) -> Vec<Run> {
    let stride = convolution.window().stride[axis];
    let mut runs: Vec<Run> = vec![];
    for class in classes(convolution, Direction::Forward, axis) {
        let first_run = runs.len();
        for &(position, source) in &class.positions {
            match runs[first_run..].last_mut() {
                Some(run) if run.continues(position, source, stride) => run.positions.end += 1,
                _ => runs.push(Run {
                    positions: position..position + 1,
                    source,
                    taps: class.taps.clone(),
                }),
            }
        }
    }
    runs
}
