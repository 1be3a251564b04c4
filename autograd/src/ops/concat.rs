//! Values side by side.

use super::Operation;
use crate::Tensor;
use crate::tape::{Backward, Operands, Tape, Var};
use kernels::{Cost, LANES, Layout};

impl Tape<'_> {
    /// The channels of values one after the other; rows and columns are the same.
    ///
    /// # Panics
    /// If they differ in rows, columns or images, or there are none.
    pub fn concat(&mut self, x: &[Var]) -> Var {
        let first = self.value(*x.first().expect("values to concatenate"));
        let (images, size) = (first.images(), first.size());
        for x in x.iter().map(|x| self.value(*x)) {
            assert_eq!(
                (x.images(), x.size()),
                (images, size),
                "images, and their rows and columns"
            );
        }
        let channels = x.iter().map(|x| self.value(*x).channels()).sum();
        let (y, mut out) = self.output(images, channels, size);
        let to = *out.layout();
        // A part has some planes, counted through all blocks.
        let plane = to.plane() * LANES;
        self.cores.each_piece(out.data_mut(), plane, Cost::floats(2 * to.len()), |start, y| {
            let planes = start / plane..(start + y.len()) / plane;
            for (block, from) in blocks(planes, to.channels()) {
                let mut first = 0;
                for x in x.iter().map(|x| self.value(*x)) {
                    let own = first..first + x.channels();
                    let both = from.start.max(own.start)..from.end.min(own.end);
                    if !both.is_empty() {
                        let source = (block * x.channels() + both.start - first) * plane;
                        let target = (block * to.channels() + both.start) * plane - start;
                        let len = both.len() * plane;
                        y[target..target + len].copy_from_slice(&x.data()[source..source + len]);
                    }
                    first = own.end;
                }
            }
        });
        let needs = x.iter().any(|x| self.needs_gradient(*x));
        let x = self.operands(x);
        self.record(y, out, needs, Concat { x, y })
    }
}

/// Planes that are counted through all blocks, block by block: the block, and its channels.
fn blocks(
    planes: std::ops::Range<usize>,
    channels: usize,
) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
    (planes.start / channels..planes.end.div_ceil(channels)).map(move |block| {
        let first = block * channels;
        let start = planes.start.max(first) - first;
        (block, start..planes.end.min(first + channels) - first)
    })
}

pub(crate) struct Concat {
    x: Operands,
    y: Var,
}

impl Operation for Concat {
    fn name(&self) -> &'static str {
        "concatenation"
    }

    fn output(&self) -> Var {
        self.y
    }

    fn reads_output(&self) -> bool {
        false
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let mut first = 0;
        for i in 0..self.x.len() {
            let x = b.operand(&self.x, i);
            let (channels, gradient) = (b.channels(x), b.gradient(x));
            if let Some((mut dx, store)) = gradient {
                let (isa, from, layout) = (b.cores.isa(), *dy.layout(), *dx.layout());
                let plane = layout.plane() * LANES;
                let cost = Cost::floats(2 * layout.len());
                let dy = dy.data();
                b.cores.each_piece(dx.data_mut(), plane, cost, |start, dx| {
                    let planes = start / plane..(start + dx.len()) / plane;
                    for (block, own) in blocks(planes, layout.channels()) {
                        let at = (block * layout.channels() + own.start) * plane - start;
                        let one = |count| Layout::new(1, count, layout.size());
                        let dy = &dy[block * from.block_len()..][..from.block_len()];
                        let dx = &mut dx[at..][..own.len() * plane];
                        let (place, to) = (first + own.start, one(own.len()));
                        kernels::take_planes(isa, dy, &one(from.channels()), place, &to, dx, store);
                    }
                });
                b.put(x, dx);
            }
            first += channels;
        }
    }
}
