//! Planes times a value each.

use super::{Operation, pieces};
use crate::Tensor;
use crate::tape::{Backward, Tape, Var};
use kernels::{Cost, LANES, Layout, Store};

impl Tape<'_> {
    /// `y[n][c][p] = x[n][c][p] · factors[n][c]` for every pixel `p`: squeeze-and-excitation.
    ///
    /// # Panics
    /// If `factors` is not `[N][C]` or `[N][C][1][1]`.
    pub fn scale_planes(&mut self, x: Var, factors: Var) -> Var {
        let (input, scales) = (self.value(x), self.value(factors));
        let (images, layout) = (input.images(), *input.layout());
        assert_eq!(
            (scales.images(), scales.channels(), scales.size()),
            (images, layout.channels(), [1, 1]),
            "a factor for each plane"
        );
        let (y, mut out) = self.output(images, layout.channels(), layout.size());
        let (from, scales, isa) = (self.value(x).data(), self.value(factors).data(), self.isa());
        pieces::by_plane(self.cores, [layout; 2], out.data_mut(), |planes, y| {
            let (x, layout) = (planes.of(0, from), &planes.layout[0]);
            let scales = factors_of(scales, planes.first, layout);
            kernels::scale_planes(isa, layout, x, scales, y, Store::Overwrite);
        });
        let needs = self.needs_gradient(x) || self.needs_gradient(factors);
        self.record(y, out, needs, ScalePlanes { x, factors, y })
    }
}

/// The factors of planes from `first` on.
fn factors_of<'a>(factors: &'a [f32], first: usize, layout: &Layout) -> &'a [f32] {
    &factors[first * LANES..][..layout.channels() * LANES]
}

pub(crate) struct ScalePlanes {
    x: Var,
    factors: Var,
    y: Var,
}

impl Operation for ScalePlanes {
    fn name(&self) -> &'static str {
        "product"
    }

    fn output(&self) -> Var {
        self.y
    }

    fn reads_output(&self) -> bool {
        false
    }

    fn backward(&self, b: &mut Backward<'_>, dy: &mut Tensor) {
        let (isa, layout) = (b.cores.isa(), *dy.layout());
        if let Some((mut dx, store)) = b.gradient(self.x) {
            let (dy, factors) = (dy.data(), b.value(self.factors).data());
            pieces::by_plane(b.cores, [layout; 2], dx.data_mut(), |planes, dx| {
                let layout = &planes.layout[0];
                let factors = factors_of(factors, planes.first, layout);
                kernels::scale_planes(isa, layout, planes.of(0, dy), factors, dx, store);
            });
            b.put(self.x, dx);
        }
        if let Some((mut sums, store)) = b.gradient(self.factors) {
            let (dy, x) = (dy.data(), b.value(self.x).data());
            let plane = layout.plane() * LANES;
            let cost = Cost::floats(2 * layout.len());
            b.cores.each_piece(sums.data_mut(), LANES, cost, |start, sums| {
                let (first, count) = (start / LANES, sums.len() / LANES);
                let [x, dy] = [x, dy].map(|t| &t[first * plane..][..count * plane]);
                let layout = Layout::new(1, count, layout.size());
                kernels::plane_products(isa, &layout, x, dy, sums, store);
            });
            b.put(self.factors, sums);
        }
    }
}
