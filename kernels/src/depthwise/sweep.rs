//! How a plane is run through: row by row, in segments of neighbours that meet the same taps.

use crate::im2col::{Class, Direction, Tap, classes};
use crate::{Convolution, LANES};
use std::ops::Range;

/// The targets of one plane in order, and the taps that each of them meets in the planes of its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sweep {
    pub taps: Vec<Tap>,
    pub segments: Vec<Segment>,
    /// Floats of the weights, of the source and of the target.
    pub lengths: [usize; 3],
}

/// Targets of a row, each a step from the one before, as are their sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub taps: Range<usize>,
    /// Where the source of the first lies, and the first itself, in floats.
    pub x: usize,
    pub y: usize,
    pub count: usize,
    /// Floats from a source to the next, and from a target to the next.
    pub x_step: usize,
    pub y_step: usize,
}

/// Positions along a row, each a step from the one before.
struct Run {
    class: usize,
    /// Position and first source of the first.
    first: (usize, usize),
    count: usize,
    step: (usize, usize),
}

impl Sweep {
    /// From the outputs of a convolution of one channel to one or several.
    pub fn forward(group: &Convolution) -> Sweep {
        Sweep::new(group, Direction::Forward)
    }

    /// From its input to the outputs that saw it, all of them.
    pub fn backward(group: &Convolution) -> Sweep {
        Sweep::new(group, Direction::Backward)
    }

    fn new(group: &Convolution, direction: Direction) -> Sweep {
        let (input, output) = (group.input(), group.output());
        // Weights are those of the output channels that are read.
        let (source, target, channels) = match direction {
            Direction::Forward => (input, output, 1),
            Direction::Backward => (output, input, output.channels()),
        };
        let [kh, kw] = group.window().kernel;
        let [rows, columns] = [0, 1].map(|axis| classes(group, direction, axis));
        let runs = runs(&columns);
        let (mut taps, mut ranges) = (vec![], vec![]);
        for row in &rows {
            for column in &columns {
                let first = taps.len();
                for channel in 0..channels {
                    for &(ky, dy) in &row.taps {
                        for &(kx, dx) in &column.taps {
                            let offset =
                                |n: usize| u32::try_from(n).expect("a block is below 2³² floats");
                            let x = offset(source.offset(channel, [dy, dx]));
                            taps.push(Tap { x, w: offset((channel * kh + ky) * kw + kx) });
                        }
                    }
                }
                ranges.push(first..taps.len());
            }
        }
        let mut lines: Vec<_> = (0..rows.len())
            .flat_map(|class| rows[class].positions.iter().map(move |&at| (at, class)))
            .collect();
        lines.sort_unstable();
        let mut segments = Vec::with_capacity(lines.len() * runs.len());
        for ((row, source_row), class) in lines {
            segments.extend(runs.iter().map(|run| Segment {
                taps: ranges[class * columns.len() + run.class].clone(),
                x: source.offset(0, [source_row, run.first.1]),
                y: target.offset(0, [row, run.first.0]),
                count: run.count,
                x_step: run.step.1 * LANES,
                y_step: run.step.0 * LANES,
            }));
        }
        let plane = |planes: usize, of: crate::Layout| planes * of.plane() * LANES;
        let lengths = [channels * kh * kw, plane(channels, source), plane(1, target)];
        Sweep { taps, segments, lengths }.validated()
    }

    /// Panics unless everything that a sweep reads or writes is there: what the `unsafe` blocks rely on.
    fn validated(self) -> Sweep {
        let [weights, source, target] = self.lengths;
        for segment in &self.segments {
            let taps = &self.taps[segment.taps.clone()];
            let last = |first: usize, step: usize| first + (segment.count - 1) * step + LANES;
            assert!(segment.count > 0, "an empty segment");
            assert!(last(segment.y, segment.y_step) <= target, "a target of {segment:?}");
            for tap in taps {
                let end = last(segment.x, segment.x_step) + tap.x as usize;
                assert!(end <= source && (tap.w as usize) < weights, "{tap:?} of {segment:?}");
            }
        }
        self
    }
}

/// The positions of all classes along an axis in runs, in order of their first.
fn runs(classes: &[Class]) -> Vec<Run> {
    let mut runs: Vec<Run> = vec![];
    for (number, class) in classes.iter().enumerate() {
        let first_run = runs.len();
        for &(position, source) in &class.positions {
            if let Some(run) = runs[first_run..].last_mut() {
                let (first, last) = (run.first, run.last());
                // A mirrored image is run through backwards: those are runs of one.
                let step = source.checked_sub(last.1).map(|step| (position - last.0, step));
                if let Some(step) = step.filter(|step| run.count == 1 || *step == run.step) {
                    *run = Run { class: number, first, count: run.count + 1, step };
                    continue;
                }
            }
            runs.push(Run { class: number, first: (position, source), count: 1, step: (0, 0) });
        }
    }
    runs.sort_by_key(|run| run.first);
    runs
}

impl Run {
    fn last(&self) -> (usize, usize) {
        let (position, source) = self.first;
        let steps = self.count - 1;
        (position + steps * self.step.0, source + steps * self.step.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv2dOptions, PaddingMode, Window};

    /// Every target once, row by row.
    #[test]
    fn segments_are_the_plane() {
        for case in 0..3usize.pow(5) {
            let digit = |place: u32| case / 3usize.pow(place) % 3;
            let window = Window::new([digit(0) + 1, 3]).stride(digit(1) + 1).padding(digit(2));
            let window = window.dilation(digit(3) + 1);
            let modes = [PaddingMode::Zeros, PaddingMode::Reflect];
            for options in modes.map(|mode| Conv2dOptions::from(window).padding_mode(mode)) {
                let Some(group) = Convolution::new(1, [digit(4) + 5, 7], 2, options) else {
                    continue;
                };
                for (sweep, target) in [
                    (Sweep::forward(&group), group.output()),
                    (Sweep::backward(&group), group.input()),
                ] {
                    let places = sweep.segments.iter().flat_map(|segment| {
                        (0..segment.count).map(|i| segment.y + i * segment.y_step)
                    });
                    let rows: Vec<usize> =
                        places.clone().map(|y| y / LANES / target.size()[1]).collect();
                    assert!(rows.is_sorted(), "{options:?}");
                    let mut places: Vec<usize> = places.collect();
                    places.sort_unstable();
                    assert!(places.into_iter().eq((0..target.pixels()).map(|p| p * LANES)));
                }
            }
        }
    }

    /// An unpadded edge or a stride does not cut a row into pieces.
    #[test]
    fn rows_are_few_segments() {
        let padded = Convolution::new(1, [14, 14], 1, Window::new([3, 3]).padding(1)).unwrap();
        assert_eq!(Sweep::forward(&padded).segments.len(), 14 * 3);
        let strided = Convolution::new(1, [14, 14], 1, Window::new([3, 3]).padding(1).stride(2));
        assert_eq!(Sweep::forward(&strided.unwrap()).segments.len(), 7 * 2);
        // Even and odd columns, and the last, which one output sees.
        assert!(Sweep::backward(&strided.unwrap()).segments.len() <= 14 * 3);
    }
}
