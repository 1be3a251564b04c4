//! Which part of an output a call computes.

use std::ops::Range;

/// Some lines of some panels of an output: neighbours in memory, as either all lines are in it or one panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Panels of sixteen channels.
    pub panels: Range<usize>,
    /// Lines of each of them: rows of pixels, image after image.
    pub lines: Range<usize>,
}

impl Part {
    /// Cuts `panels` × `lines` into parts of one size, as far as can be, for `workers` that are as fast as each
    /// other, and returns how many: whole panels where their number suits, else pieces of one panel.
    pub fn count(panels: usize, lines: usize, workers: usize) -> usize {
        let (panels, lines) = (panels.max(1), lines.max(1));
        if workers <= 1 || panels.is_multiple_of(workers) || panels >= 4 * workers {
            return workers.clamp(1, panels);
        }
        panels * pieces(panels, lines, workers)
    }

    /// Part `i` of `count`, a number that [`Part::count`] gave.
    pub fn new(panels: usize, lines: usize, count: usize, i: usize) -> Part {
        let cut = |total: usize, pieces: usize, i: usize| {
            total * i / pieces.max(1)..total * (i + 1) / pieces.max(1)
        };
        if count <= panels {
            return Part { panels: cut(panels, count, i), lines: 0..lines };
        }
        let pieces = count / panels.max(1);
        let panel = i / pieces;
        Part { panels: panel..panel + 1, lines: cut(lines, pieces, i % pieces) }
    }
}

/// The fewest pieces of a panel with which all workers have the same number of them, or as many as there are
/// lines.
fn pieces(panels: usize, lines: usize, workers: usize) -> usize {
    let pieces = (1..=workers).find(|pieces| (pieces * panels).is_multiple_of(workers));
    pieces.unwrap_or(workers).min(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_whole() {
        for panels in 1..9 {
            for lines in 1..7 {
                for workers in 1..9 {
                    let count = Part::count(panels, lines, workers);
                    let mut next = 0;
                    for part in (0..count).map(|i| Part::new(panels, lines, count, i)) {
                        assert!(part.lines == (0..lines) || part.panels.len() == 1, "{part:?}");
                        assert_eq!(part.panels.start * lines + part.lines.start, next, "{part:?}");
                        next += part.panels.len() * part.lines.len();
                    }
                    assert_eq!(next, panels * lines, "{panels} {lines} {workers}");
                }
            }
        }
        assert_eq!(Part::count(4, 28, 2), 2);
        assert_eq!(Part::count(1, 28, 2), 2);
        assert_eq!(Part::count(3, 28, 2), 6);
        assert_eq!(Part::count(1, 1, 16), 1);
    }
}
