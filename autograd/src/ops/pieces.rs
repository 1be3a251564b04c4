//! Operations value by value or plane by plane, in parts: each a piece of the output, which the kernel
//! computes from the same piece of the inputs.

use kernels::{Activation, Cores, Cost, LANES, Layout};
use std::ops::Range;

/// Floats that pieces are whole multiples of: pages, so that no two threads write to one.
const UNIT: usize = 1024;

/// `f` of pieces of `y`, a tensor of values that are each for itself, with their places.
pub(crate) fn by_value(
    cores: Cores<'_>,
    y: &mut [f32],
    inputs: usize,
    f: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let cost = Cost::floats(y.len() * (1 + inputs));
    cores.each_piece(y, UNIT, cost, |first, y| f(first..first + y.len(), y));
}

/// `y += x`.
pub(crate) fn add_assign(cores: Cores<'_>, y: &mut [f32], x: &[f32]) {
    assert_eq!(x.len(), y.len(), "lengths of x and y");
    by_value(cores, y, 2, |place, y| kernels::add_assign(cores.isa(), y, &x[place]));
}

/// `y = f(y)`.
pub(crate) fn activate_in_place(cores: Cores<'_>, f: Option<Activation>, y: &mut [f32]) {
    let Some(f) = f else { return };
    by_value(cores, y, 1, |_, y| kernels::activate_in_place(cores.isa(), f, y));
}

/// `dy = 0` wherever not `y > 0`.
pub(crate) fn relu_backward(cores: Cores<'_>, y: &[f32], dy: &mut [f32]) {
    assert_eq!(y.len(), dy.len(), "lengths of y and dy");
    by_value(cores, dy, 2, |place, dy| kernels::relu_backward(cores.isa(), &y[place], dy));
}

/// Planes of a tensor and of another that has as many, in order, from plane `first` on: what a part of an
/// operation on planes sees. Planes follow each other alike within a block and across blocks, so they are
/// a tensor of one block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planes {
    /// The first of them.
    pub first: usize,
    from: [usize; 2],
    plane: [usize; 2],
    /// The planes of each tensor.
    pub layout: [Layout; 2],
}

impl Planes {
    /// The part's floats of a tensor of the first layout, or of the second.
    pub fn of<'a>(&self, which: usize, tensor: &'a [f32]) -> &'a [f32] {
        let (from, planes) = (self.from[which], self.layout[which].channels());
        &tensor[from..from + planes * self.plane[which]]
    }
}

/// `f` of some planes of `y`, of the second layout, at a time.
pub(crate) fn by_plane(
    cores: Cores<'_>,
    layouts: [Layout; 2],
    y: &mut [f32],
    f: impl Fn(Planes, &mut [f32]) + Sync,
) {
    let plane = layouts.map(|layout| layout.plane() * LANES);
    let cost = Cost::floats(layouts.iter().map(Layout::len).sum::<usize>() * 2);
    cores.each_piece(y, plane[1], cost, |first, y| {
        let (first, count) = (first / plane[1], y.len() / plane[1]);
        let layout = layouts.map(|layout| Layout::new(1, count, layout.size()));
        f(Planes { first, from: plane.map(|plane| first * plane), plane, layout }, y);
    });
}

/// `f` of some planes of a tensor at a time, with the features that they are when it is flat, which are
/// those of `y`.
pub(crate) fn flat(
    cores: Cores<'_>,
    layout: Layout,
    y: &mut [f32],
    f: impl Fn(Planes, &mut [f32]) + Sync,
) {
    let (plane, pixels) = (layout.plane() * LANES, layout.pixels() * LANES);
    let cost = Cost::floats(layout.len() * 2);
    cores.each_piece(y, pixels, cost, |first, y| {
        let (first, count) = (first / pixels, y.len() / pixels);
        let layout = [Layout::new(1, count, layout.size()); 2];
        f(Planes { first, from: [first * plane; 2], plane: [plane; 2], layout }, y);
    });
}
