//! Products: of convolutions by both methods, of linear layers, of plain matrices.

use crate::Call;
use crate::buffers::Buffers;
use crate::chance::Chance;
use kernels::{
    Convolution, Depthwise, DepthwiseTensors, Gemm, Im2col, Isa, Layout, Matrix, MatrixMut,
    Operands, Start, Window, Winograd, depthwise, depthwise_gradients, gemm, implicit_gemm,
    implicit_gemm_pooled, linear_weight_gradient, transpose_weights, weight_gradient,
    weight_gradient_transposed, winograd, winograd_data_gradient, winograd_weight_gradient,
    winograd_weights,
};

pub const ALL: &[(&str, Call)] = &[
    ("implicit_gemm, forward", forward),
    ("implicit_gemm, data gradient", data_gradient),
    ("implicit_gemm_pooled", pooled),
    ("weight_gradient", weights),
    ("weight_gradient_transposed", weights_transposed),
    ("linear_weight_gradient", linear),
    ("transpose_weights", transpose),
    ("depthwise", by_channel),
    ("depthwise_gradients", gradients_by_channel),
    ("winograd", by_winograd),
    ("winograd_data_gradient", winograd_data),
    ("winograd_weight_gradient", winograd_weight),
    ("gemm", matrices),
];

fn convolution(c: &mut Chance) -> Convolution {
    if c.once_in(5) {
        return small(Convolution::linear(c.count(), c.count()));
    }
    let options = c.options();
    small(Convolution::new(c.count(), c.size(), c.count(), options).expect("a window that fits"))
}

/// Panics where it would take too long.
fn small(convolution: Convolution) -> Convolution {
    let most = convolution.input().block_len().max(convolution.output().block_len());
    assert!(most.max(convolution.weights()) <= 1 << 16, "more than is tried");
    convolution
}

fn blocks(c: &mut Chance) -> usize {
    1 + c.below(2)
}

fn of(layout: Layout, blocks: usize) -> usize {
    layout.with_blocks(blocks).len()
}

/// A table for the product, or once in a while for another.
fn table(c: &mut Chance, convolution: &Convolution, right: fn(&Convolution) -> Im2col) -> Im2col {
    if !c.once_in(25) {
        return right(convolution);
    }
    let other = [Convolution::forward, Convolution::data_gradient, Convolution::weight_gradient];
    c.of(&other)(convolution)
}

fn product(c: &mut Chance, b: &Buffers, isa: Isa, im2col: &Im2col, sizes: [usize; 4]) {
    let [weights, x, bias, y] = sizes;
    let start = match c.below(3) {
        0 => Start::Zero,
        1 => Start::Bias(b.floats(c, bias)),
        _ => Start::Output,
    };
    let (weights, x, y) = (b.floats(c, weights), b.floats(c, x), b.floats(c, y));
    let operands = Operands { weights, x, start, epilogue: c.epilogue() };
    implicit_gemm(isa, im2col, operands, y);
}

fn forward(c: &mut Chance, b: &Buffers, isa: Isa) {
    let (conv, blocks) = (convolution(c), blocks(c));
    let im2col = table(c, &conv, Convolution::forward);
    let (x, y) = (of(conv.input(), blocks), of(conv.output(), blocks));
    product(c, b, isa, &im2col, [conv.weights(), x, conv.output().channels(), y]);
}

fn data_gradient(c: &mut Chance, b: &Buffers, isa: Isa) {
    let (conv, blocks) = (convolution(c), blocks(c));
    let im2col = table(c, &conv, Convolution::data_gradient);
    let weights = conv.weights();
    let (x, y) = (of(conv.output(), blocks), of(conv.input(), blocks));
    product(c, b, isa, &im2col, [weights, x, conv.input().channels(), y]);
}

fn pooled(c: &mut Chance, b: &Buffers, isa: Isa) {
    let window = Window { padding: [0, 0], ..c.window() };
    let conv =
        Convolution::new(c.count(), c.size(), c.count(), window).expect("a window that fits");
    let (conv, blocks) = (small(conv), blocks(c));
    let im2col = conv.forward_pooled().expect("no padding");
    let target = im2col.target().with_blocks(blocks);
    let (weights, x) = (b.floats(c, conv.weights()), b.floats(c, of(conv.input(), blocks)));
    let bias = b.floats(c, conv.output().channels());
    let bias = if c.once_in(2) { Some(&*bias) } else { None };
    let masks = b.filled(c.near(blocks * target.channels() * target.pixels()), [7u16; 4]);
    let y = b.floats(c, target.len());
    implicit_gemm_pooled(isa, &im2col, weights, x, bias, y, masks);
}

fn weights(c: &mut Chance, b: &Buffers, isa: Isa) {
    let (conv, blocks) = (convolution(c), blocks(c));
    let im2col = table(c, &conv, Convolution::weight_gradient);
    let x = b.floats(c, of(conv.input(), blocks));
    let dy = b.floats(c, of(conv.output(), blocks));
    weight_gradient(isa, &im2col, x, dy, b.floats(c, conv.weights()));
}

fn weights_transposed(c: &mut Chance, b: &Buffers, isa: Isa) {
    let (conv, blocks) = (convolution(c), blocks(c));
    let im2col = table(c, &conv, Convolution::forward);
    let x = b.floats(c, of(conv.input(), blocks));
    let dy = b.floats(c, of(conv.output(), blocks));
    let scratch = b.floats(c, im2col.transposed_gradient());
    weight_gradient_transposed(isa, &im2col, [x, dy], scratch, b.floats(c, conv.weights()));
}

fn linear(c: &mut Chance, b: &Buffers, isa: Isa) {
    let sizes = [c.count(), c.count()];
    let blocks = blocks(c);
    let [dy, x] = sizes.map(|n| n.checked_mul(16 * blocks).filter(|len| *len <= 1 << 16));
    let (dy, x) = (dy.unwrap_or(16), x.unwrap_or(16));
    let (x, dy) = (b.floats(c, x), b.floats(c, dy));
    let weights = sizes[0].saturating_mul(sizes[1]).min(1 << 16);
    linear_weight_gradient(isa, sizes, x, dy, b.floats(c, weights));
}

fn transpose(c: &mut Chance, b: &Buffers, isa: Isa) {
    let conv = convolution(c);
    let from = b.floats(c, conv.weights());
    transpose_weights(isa, &conv, from, b.floats(c, conv.weights()));
}

/// A depthwise convolution, once in a while one in other groups.
fn of_channels(c: &mut Chance) -> (Depthwise, Convolution) {
    let channels = c.of(&[1, 2, 3, 5, 16, 17]);
    let groups = if c.once_in(20) { c.of(&[1, 2]) } else { channels };
    let options = c.options().groups(groups);
    let outputs = channels * c.of(&[1, 1, 2, 3]);
    let conv = Convolution::new(channels, c.size(), outputs, options).expect("a window that fits");
    (Depthwise::new(&small(conv)).expect("a channel to a group"), conv)
}

fn by_channel(c: &mut Chance, b: &Buffers, isa: Isa) {
    let ((plan, conv), blocks) = (of_channels(c), blocks(c));
    let (weights, x) = (b.floats(c, conv.weights()), b.floats(c, of(conv.input(), blocks)));
    let start = match c.below(3) {
        0 => Start::Zero,
        1 => Start::Bias(b.floats(c, conv.output().channels())),
        _ => Start::Output,
    };
    let operands = Operands { weights, x, start, epilogue: c.epilogue() };
    depthwise(isa, &plan, operands, b.floats(c, of(conv.output(), blocks)));
}

fn gradients_by_channel(c: &mut Chance, b: &Buffers, isa: Isa) {
    let ((plan, conv), blocks) = (of_channels(c), blocks(c));
    let (weights, x) = (b.floats(c, conv.weights()), b.floats(c, of(conv.input(), blocks)));
    let tensors = DepthwiseTensors { weights, x, dy: b.floats(c, of(conv.output(), blocks)) };
    let (dw, store) = (b.floats(c, conv.weights()), c.store());
    let dx = b.floats(c, of(conv.input(), blocks));
    let dx = if c.once_in(3) { None } else { Some((dx, store)) };
    depthwise_gradients(isa, &plan, tensors, dw, dx);
}

/// A 3×3 convolution of enough channels, once in a while of too few.
fn plan(c: &mut Chance) -> (Winograd, Convolution) {
    let channels = |c: &mut Chance| c.of(&[32, 32, 33, 48, 31]);
    let window = Window::new([3, 3]).padding(c.below(4));
    let size = c.size().map(|n| n + 3);
    let conv = Convolution::new(channels(c), size, channels(c), window).expect("it fits");
    assert!(conv.input().block_len() <= 1 << 17, "more than is tried");
    (Winograd::new(&conv).expect("enough channels"), conv)
}

fn by_winograd(c: &mut Chance, b: &Buffers, isa: Isa) {
    let ((plan, conv), blocks) = (plan(c), blocks(c));
    let transformed = b.floats(c, plan.weights());
    winograd_weights(isa, &plan, b.floats(c, conv.weights()), transformed);
    let start = match c.below(3) {
        0 => Start::Zero,
        1 => Start::Bias(b.floats(c, conv.output().channels())),
        _ => Start::Output,
    };
    let x = b.floats(c, of(conv.input(), blocks));
    let operands = Operands { weights: transformed, x, start, epilogue: c.epilogue() };
    let scratch = b.floats(c, plan.scratch());
    winograd(isa, &plan, operands, scratch, b.floats(c, of(conv.output(), blocks)));
}

fn winograd_data(c: &mut Chance, b: &Buffers, isa: Isa) {
    let ((plan, conv), blocks) = (plan(c), blocks(c));
    let weights = b.floats(c, plan.weights());
    let start = if c.once_in(2) { Start::Zero } else { Start::Output };
    let x = b.floats(c, of(conv.output(), blocks));
    let operands = Operands { weights, x, start, epilogue: kernels::Epilogue::None };
    let scratch = b.floats(c, plan.scratch());
    winograd_data_gradient(isa, &plan, operands, scratch, b.floats(c, of(conv.input(), blocks)));
}

fn winograd_weight(c: &mut Chance, b: &Buffers, isa: Isa) {
    let ((plan, conv), blocks) = (plan(c), blocks(c));
    let x = b.floats(c, of(conv.input(), blocks));
    let dy = b.floats(c, of(conv.output(), blocks));
    let scratch = b.floats(c, plan.scratch());
    winograd_weight_gradient(isa, &plan, x, dy, scratch, b.floats(c, conv.weights()));
}

fn matrices(c: &mut Chance, b: &Buffers, isa: Isa) {
    let [m, n, k] = [0; 3].map(|_| c.count());
    let (alpha, beta) = (c.of(&[1.0, 0.5]), c.of(&[0.0, 1.0, -0.25]));
    // Rows of a matrix, and how far apart they are.
    let mut matrix = |rows: usize, columns: usize| {
        let stride = columns.wrapping_add(c.of(&[0, 0, 0, 1, 7, usize::MAX, 1 << 60]));
        let len = rows.saturating_sub(1).saturating_mul(stride).saturating_add(columns);
        (b.floats(c, if rows == 0 { 0 } else { len.min(1 << 16) }), stride)
    };
    let (c_data, c_stride) = matrix(m, n);
    let (a, a_stride) = matrix(m, k);
    let (at, at_stride) = matrix(k, m);
    let (b_data, b_stride) = matrix(k, n);
    let (bt, bt_stride) = matrix(n, k);
    let a = if c.once_in(2) { Matrix::new(a, a_stride) } else { Matrix::transposed(at, at_stride) };
    let b = if c.once_in(2) {
        Matrix::new(b_data, b_stride)
    } else {
        Matrix::transposed(bt, bt_stride)
    };
    gemm(isa, Gemm { m, n, k, alpha, beta }, a, b, MatrixMut::new(c_data, c_stride));
}
