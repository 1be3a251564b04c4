//! How an im2col matrix is cut: positions that meet the same taps.

use crate::Convolution;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From a pixel of the output to the pixels of the input that it sees.
    Forward,
    /// From a pixel of the input to the pixels of the output that saw it.
    Backward,
}
use Direction::{Backward, Forward};

/// Positions along one axis that meet the same taps at the same distances.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Class {
    /// Kernel index, and distance of its source from the first source: in order, a kernel index as often as it has
    /// sources.
    pub(crate) taps: Vec<(usize, usize)>,
    /// Position, and its first source.
    pub(crate) positions: Vec<(usize, usize)>,
}

/// The classes of the positions along an axis, in order of their first members.
pub(crate) fn classes(conv: &Convolution, direction: Direction, axis: usize) -> Vec<Class> {
    let (options, input, output) = (conv.options(), conv.input().size(), conv.output().size());
    let positions = if direction == Forward { output[axis] } else { input[axis] };
    let mut classes: Vec<Class> = vec![];
    for position in 0..positions {
        let taps = 0..options.window.kernel[axis];
        let met: Vec<(usize, usize)> = match direction {
            Forward => {
                taps.filter_map(|k| Some((k, options.source(axis, position, k, input)?))).collect()
            }
            Backward => {
                let sizes = [input[axis], output[axis]];
                let readers = |k| options.readers(axis, position, k, sizes).map(move |o| (k, o));
                taps.flat_map(readers).collect()
            }
        };
        let first = met.iter().map(|&(_, at)| at).min().unwrap_or(0);
        let taps: Vec<_> = met.iter().map(|&(k, at)| (k, at - first)).collect();
        match classes.iter_mut().find(|class| class.taps == taps) {
            Some(class) => class.positions.push((position, first)),
            None => classes.push(Class { taps, positions: vec![(position, first)] }),
        }
    }
    classes
}

/// Every pixel of a class of rows and a class of columns, with its first source.
pub(super) fn positions(y: &Class, x: &Class) -> impl Iterator<Item = ([usize; 2], [usize; 2])> {
    y.positions
        .iter()
        .flat_map(move |&(py, sy)| x.positions.iter().map(move |&(px, sx)| ([py, px], [sy, sx])))
}

/// Kernel positions, and output pixels that meet each of them inside the image.
pub(super) struct Rectangle {
    pub(super) kernel: Vec<[usize; 2]>,
    pub(super) pixels: Vec<[usize; 2]>,
}

/// The regions of the weight gradient, for every channel alike.
///
/// Where most pixels meet every tap, those pixels (the *core*) with all taps are the first region,
/// and what remains follows tap by tap; otherwise each kernel position has all its pixels in one
/// region. Fewer regions are fewer sums over lanes; a core lets a tile's taps share cache lines.
pub(super) fn weight_regions(conv: &Convolution) -> Vec<Rectangle> {
    let (options, input, output) = (conv.options(), conv.input(), conv.output());
    let [kh, kw] = options.window.kernel;
    let kernel: Vec<[usize; 2]> = (0..kh).flat_map(|ky| (0..kw).map(move |kx| [ky, kx])).collect();
    let meets = |pixel: [usize; 2], k: [usize; 2]| {
        (0..2).all(|axis| options.source(axis, pixel[axis], k[axis], input.size()).is_some())
    };
    // Where no tap is mirrored: from one to the next is as far as the dilation.
    let direct = |pixel: [usize; 2], k: [usize; 2]| {
        (0..2).all(|axis| options.window.source(axis, pixel[axis], k[axis], input.size()).is_some())
    };
    let pixels = (0..output.size()[0]).flat_map(|y| (0..output.size()[1]).map(move |x| [y, x]));
    let (mut core, mut rim): (Vec<_>, Vec<_>) =
        pixels.partition(|&pixel| kernel.iter().all(|&k| direct(pixel, k)));
    let products = conv.multiply_adds() / (input.channels() * output.channels()).max(1);
    let mut regions = vec![];
    if 2 * core.len() * kernel.len() >= products || input.channels() < 4 {
        regions.push(Rectangle { kernel: kernel.clone(), pixels: core });
    } else {
        core.append(&mut rim);
        rim = core;
    }
    for k in kernel {
        let pixels = rim.iter().copied().filter(|&pixel| meets(pixel, k)).collect();
        regions.push(Rectangle { kernel: vec![k], pixels });
    }
    regions.retain(|region| !region.pixels.is_empty());
    regions
}
