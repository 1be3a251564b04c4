//! Outputs that are streamed past the caches: the same bits as those that are stored. What decides is where an output
//! begins, so each is computed to a cache line and beside one.

use crate::common::assert_same_bits;
use kernels::{
    BatchNorm, BatchNormGradients, Convolution, Epilogue, Isa, LANES, Layout, Operands, Start,
    Statistics, Store, Window, Winograd, add, batch_norm, batch_norm_backward, streamed_floats,
    winograd, winograd_weights,
};
use reference::uniform;

const CHANNELS: usize = 3;
const SIZE: [usize; 2] = [61, 67];

/// A layout that is streamed.
fn large() -> Layout {
    let block = Layout::new(1, CHANNELS, SIZE).len();
    Layout::new(streamed_floats().div_ceil(block), CHANNELS, SIZE)
}

/// What `run` makes of an output of so many floats, beginning on a cache line, and beside one. The output is NaN before.
fn assert_same_beside_a_line(what: &str, len: usize, run: impl Fn(Isa, &mut [f32])) {
    for isa in Isa::available() {
        let [on, beside] = [0, 1].map(|shift| {
            let mut room = vec![f32::NAN; len + 2 * LANES];
            let line = room.as_ptr().align_offset(LANES * size_of::<f32>());
            run(isa, &mut room[line + shift..][..len]);
            room.drain(..line + shift);
            room.truncate(len);
            room
        });
        let written = on.iter().filter(|v| !v.is_nan()).count();
        assert!(written > len / 10 * 9, "{what}: {written} of {len}");
        assert_same_bits(&format!("{what}, {}", isa.name()), &on, &beside);
    }
}

#[test]
fn sums() {
    let len = streamed_floats() + 5;
    let [a, b] = [1, 2].map(|seed| uniform::<f32>(len, seed));
    assert_same_beside_a_line("sum", len, |isa, y| add(isa, &a, &b, Epilogue::Relu, y));
}

#[test]
fn batch_norms() {
    let layout = large();
    let images = layout.blocks() * LANES - 3;
    let [x, dy] = [1, 2].map(|seed| uniform::<f32>(layout.len(), seed));
    let (gamma, beta) = (&[0.5, 1.0, 1.5][..], &[-0.1, 0.0, 0.1][..]);
    let op = BatchNorm { layout, images, gamma, beta, epsilon: 1e-5, activation: None };
    let found = [[0.1; CHANNELS], [0.3; CHANNELS]];
    assert_same_beside_a_line("batch norm", layout.len(), |isa, y| {
        let [mut mean, mut variance] = found;
        let found = Statistics { mean: &mut mean[..], variance: &mut variance[..] };
        batch_norm(isa, &op, &x, found, y);
    });
    assert_same_beside_a_line("backward", layout.len(), |isa, dx| {
        let found = Statistics { mean: &found[0][..], variance: &found[1][..] };
        let [mut gamma, mut beta] = [[0.0; CHANNELS]; 2];
        let (gamma, beta, store) = (&mut gamma[..], &mut beta[..], Store::Overwrite);
        let gradients = BatchNormGradients { gamma, beta, x: dx, store };
        batch_norm_backward(isa, &op, [&x, &dy], found, gradients, &mut []);
    });
}

#[test]
fn winograd_convolutions() {
    let size = [16, 14];
    let layer = Convolution::new(32, size, 32, Window::new([3, 3]).padding(1)).expect("it fits");
    let plan = Winograd::new(&layer).expect("by Winograd's method");
    let blocks = streamed_floats().div_ceil(layer.output().block_len());
    let len = layer.output().with_blocks(blocks).len();
    let (x, weights) = (uniform::<f32>(len, 1), uniform::<f32>(layer.weights(), 2));
    assert_same_beside_a_line("Winograd's method", len, |isa, y| {
        let mut u = vec![0.0; plan.weights()];
        winograd_weights(isa, &plan, &weights, &mut u);
        let operands =
            Operands { weights: &u, x: &x, start: Start::Zero, epilogue: Epilogue::None };
        winograd(isa, &plan, operands, &mut vec![0.0; plan.scratch()], y);
    });
}
