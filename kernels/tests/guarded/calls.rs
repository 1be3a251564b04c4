//! Everything but products: value by value, pooling, batch norm, the two ends of a network, optimisers.

use crate::Call;
use crate::buffers::Buffers;
use crate::chance::Chance;
use kernels::*;

pub const ALL: &[(&str, Call)] = &[
    ("activate", |c, b, isa| {
        let n = len(c);
        activate(isa, c.activation(), b.floats(c, n), b.floats(c, n));
    }),
    ("activate_backward", |c, b, isa| {
        let n = len(c);
        let (x, dy) = (b.floats(c, n), b.floats(c, n));
        activate_backward(isa, c.activation(), x, dy, b.floats(c, n), c.store());
    }),
    ("relu_backward", |c, b, isa| {
        let n = len(c);
        relu_backward(isa, b.floats(c, n), b.floats(c, n));
    }),
    ("add", |c, b, isa| {
        let n = len(c);
        add(isa, b.floats(c, n), b.floats(c, n), c.epilogue(), b.floats(c, n));
    }),
    ("add_assign", |c, b, isa| {
        let n = len(c);
        add_assign(isa, b.floats(c, n), b.floats(c, n));
    }),
    ("mul", |c, b, isa| {
        let n = len(c);
        mul(isa, b.floats(c, n), b.floats(c, n), b.floats(c, n), c.store());
    }),
    ("scale", |c, b, isa| {
        let n = len(c);
        scale(isa, b.floats(c, n), 0.5, b.floats(c, n), c.store());
    }),
    ("lerp", |c, b, isa| {
        let n = len(c);
        lerp(isa, b.floats(c, n), b.floats(c, n), 0.1);
    }),
    ("clamp", |c, b, isa| {
        let n = len(c);
        clamp(isa, b.floats(c, n), 0.5);
    }),
    ("all_finite", |c, b, isa| {
        let n = len(c);
        let _ = all_finite(isa, b.floats(c, n));
    }),
    ("sum_of_squares", |c, b, isa| {
        let n = len(c);
        let _ = sum_of_squares(isa, b.floats(c, n));
    }),
    ("dropout", |c, b, isa| {
        let n = 16 * len(c);
        let masks = b.filled(c.near(n / 16), 0x0ff0u16);
        dropout(isa, b.floats(c, n), masks, 2.0, b.floats(c, n), c.store());
    }),
    ("sum", |c, b, isa| {
        let (layout, n) = laid_out(c);
        let images = c.near(layout.blocks() * LANES);
        let _ = sum(isa, b.floats(c, n), &layout, images);
    }),
    ("channel_sums", |c, b, isa| {
        let (layout, n) = laid_out(c);
        channel_sums(isa, b.floats(c, n), &layout, b.floats(c, layout.channels()));
    }),
    ("flatten", |c, b, isa| {
        let (layout, n) = laid_out(c);
        flatten(isa, b.floats(c, n), &layout, b.floats(c, features(&layout)));
    }),
    ("unflatten", |c, b, isa| {
        let (layout, n) = laid_out(c);
        unflatten(isa, b.floats(c, features(&layout)), &layout, b.floats(c, n), c.store());
    }),
    ("avg_pool", |c, b, isa| {
        let ((layout, n), pool) = (laid_out(c), c.pool());
        avg_pool(isa, b.floats(c, n), &layout, pool, b.floats(c, pooled(&layout, pool)));
    }),
    ("avg_pool_backward", |c, b, isa| {
        let ((layout, n), pool) = (laid_out(c), c.pool());
        let dy = b.floats(c, pooled(&layout, pool));
        avg_pool_backward(isa, dy, &layout, pool, b.floats(c, n), c.store());
    }),
    ("max_pool", |c, b, isa| {
        let ((layout, n), pool) = (laid_out(c), c.pool());
        max_pool(isa, b.floats(c, n), &layout, pool, b.floats(c, pooled(&layout, pool)));
    }),
    ("max_pool_backward", |c, b, isa| {
        let ((layout, n), pool) = (laid_out(c), c.pool());
        let m = pooled(&layout, pool);
        let (x, y, dy) = (b.floats(c, n), b.floats(c, m), b.floats(c, m));
        max_pool_backward(isa, [x, y], dy, &layout, pool, b.floats(c, n), c.store());
    }),
    ("global_avg_pool", |c, b, isa| {
        let (layout, n) = laid_out(c);
        let means = Layout::features(layout.blocks(), layout.channels()).len();
        global_avg_pool(isa, b.floats(c, n), &layout, b.floats(c, means));
    }),
    ("global_avg_pool_backward", |c, b, isa| {
        let (layout, n) = laid_out(c);
        let means = Layout::features(layout.blocks(), layout.channels()).len();
        global_avg_pool_backward(isa, b.floats(c, means), &layout, b.floats(c, n), c.store());
    }),
    ("unpool", |c, b, isa| {
        let (full, n) = laid_out(c);
        let half = full.with_size(full.size().map(|n| n / 2));
        let masks =
            b.filled(c.near(half.blocks() * half.channels() * half.pixels()), [c.next() as u16; 4]);
        let db = b.floats(c, full.channels());
        let db = if c.once_in(2) { Some(db) } else { None };
        unpool(isa, masks, b.floats(c, half.len()), &half, &full, b.floats(c, n), db);
    }),
    ("batch_norm", |c, b, isa| {
        let (op, n) = norm(c, b);
        let statistics = Statistics { mean: channels(c, b, &op), variance: channels(c, b, &op) };
        batch_norm(isa, &op, b.floats(c, n), statistics, b.floats(c, n));
    }),
    ("batch_norm_evaluate", |c, b, isa| {
        let (op, n) = norm(c, b);
        let statistics = Statistics { mean: &*channels(c, b, &op), variance: channels(c, b, &op) };
        batch_norm_evaluate(isa, &op, b.floats(c, n), statistics, b.floats(c, n));
    }),
    ("batch_norm_backward", |c, b, isa| {
        let (op, n) = norm(c, b);
        let statistics = Statistics { mean: &*channels(c, b, &op), variance: channels(c, b, &op) };
        let (x, dy) = (b.floats(c, n), b.floats(c, n));
        let (gamma, beta) = (channels(c, b, &op), channels(c, b, &op));
        let gradients = BatchNormGradients { gamma, beta, x: b.floats(c, n), store: c.store() };
        let scratch = b.floats(c, op.scratch());
        batch_norm_backward(isa, &op, [x, dy], statistics, gradients, scratch);
    }),
    ("batch_norm_pool", |c, b, isa| {
        let (op, n) = norm(c, b);
        let statistics = Statistics { mean: channels(c, b, &op), variance: channels(c, b, &op) };
        batch_norm_pool(isa, &op, b.floats(c, n), statistics, b.floats(c, op.pooled().len()));
    }),
    ("batch_norm_pool_evaluate", |c, b, isa| {
        let (op, n) = norm(c, b);
        let statistics = Statistics { mean: &*channels(c, b, &op), variance: channels(c, b, &op) };
        batch_norm_pool_evaluate(
            isa,
            &op,
            b.floats(c, n),
            statistics,
            b.floats(c, op.pooled().len()),
        );
    }),
    ("batch_norm_pool_backward", |c, b, isa| {
        let (op, n) = norm(c, b);
        let half = op.pooled().len();
        let statistics = Statistics { mean: &*channels(c, b, &op), variance: channels(c, b, &op) };
        let tensors =
            PooledTensors { x: b.floats(c, n), y: b.floats(c, half), dy: b.floats(c, half) };
        let (gamma, beta) = (channels(c, b, &op), channels(c, b, &op));
        let gradients = BatchNormGradients { gamma, beta, x: b.floats(c, n), store: c.store() };
        let scratch = b.floats(c, op.pool_scratch());
        batch_norm_pool_backward(isa, &op, tensors, statistics, gradients, scratch);
    }),
    ("prelu", |c, b, isa| {
        let (layout, n) = laid_out(c);
        let slopes = c.of(&[1, layout.channels(), layout.channels(), 2]);
        let slopes = b.floats(c, slopes);
        prelu(isa, b.floats(c, n), &layout, slopes, b.floats(c, n));
    }),
    ("prelu_backward", |c, b, isa| {
        let (layout, n) = laid_out(c);
        let slopes = c.of(&[1, layout.channels(), layout.channels(), 2]);
        let (x, dy, room) = (b.floats(c, n), b.floats(c, n), b.floats(c, layout.channels()));
        let (slopes, dslopes) = (b.floats(c, slopes), b.floats(c, slopes));
        let dx = b.floats(c, n);
        let dx = if c.once_in(2) { Some((dx, c.store())) } else { None };
        prelu_backward(isa, [x, dy], &layout, slopes, (dslopes, room), dx);
    }),
    ("image_norm", |c, b, isa| {
        let (op, n) = image_norm_of(c, b);
        let statistics = b.floats(c, op.statistics().min(1 << 17));
        image_norm(isa, &op, b.floats(c, n), statistics, b.floats(c, n));
    }),
    ("image_norm_backward", |c, b, isa| {
        let (op, n) = image_norm_of(c, b);
        let statistics = b.floats(c, op.statistics().min(1 << 17));
        let (x, dy) = (b.floats(c, n), b.floats(c, n));
        let (gamma, beta) = (b.floats(c, op.gamma.len()), b.floats(c, op.beta.len()));
        let dx = b.floats(c, n);
        let dx = if c.once_in(2) { Some((dx, c.store())) } else { None };
        let to = ImageNormGradients { gamma, beta, x: dx };
        image_norm_backward(isa, &op, [x, dy], statistics, to);
    }),
    ("softmax", |c, b, isa| {
        let (layout, n) = classes(c);
        softmax(isa, b.floats(c, n), &layout, b.floats(c, n));
    }),
    ("softmax_backward", |c, b, isa| {
        let (layout, n) = classes(c);
        let (y, dy) = (b.floats(c, n), b.floats(c, n));
        softmax_backward(isa, y, dy, &layout, b.floats(c, n), c.store());
    }),
    ("log_softmax", |c, b, isa| {
        let (layout, n) = classes(c);
        log_softmax(isa, b.floats(c, n), &layout, b.floats(c, n));
    }),
    ("log_softmax_backward", |c, b, isa| {
        let (layout, n) = classes(c);
        let (y, dy) = (b.floats(c, n), b.floats(c, n));
        log_softmax_backward(isa, y, dy, &layout, b.floats(c, n), c.store());
    }),
    ("cross_entropy", |c, b, isa| {
        let (layout, n) = classes(c);
        let missing = c.below(16);
        let images = c.near((layout.blocks() * LANES).saturating_sub(missing));
        let label = c.of(&[0, 0, 1, 2, u32::MAX]);
        let labels = b.filled(images, label);
        let gradient = b.floats(c, n);
        let gradient = if c.once_in(2) { Some((gradient, 0.5)) } else { None };
        cross_entropy(isa, b.floats(c, n), &layout, labels, 0.1, gradient);
    }),
    ("loss", |c, b, isa| {
        let (layout, n) = classes(c);
        let kind = c.of(&[LossKind::CrossEntropy, LossKind::Nll, LossKind::Bce]);
        let outputs = layout.channels();
        let classes = Loss { kind, ..Loss::CROSS_ENTROPY }.classes(outputs);
        let missing = c.below(16);
        let images = (layout.blocks() * LANES).saturating_sub(missing);
        let label = c.of(&[0, 0, 1, 2, u32::MAX]);
        let labels = b.filled(c.near(images), label);
        let rows = b.floats(c, images * classes);
        let targets = if c.once_in(2) { Targets::Labels(labels) } else { Targets::Rows(rows) };
        let weights = b.floats(c, classes);
        let weights = if c.once_in(2) { Some(&weights[..]) } else { None };
        let gradient = b.floats(c, n);
        let gradient = if c.once_in(2) { Some((gradient, 0.5)) } else { None };
        let with = Loss { kind, smoothing: 0.1, weights };
        loss(isa, b.floats(c, n), &layout, targets, &with, gradient);
    }),
    ("load_images", |c, b, isa| {
        let (layout, n) = laid_out(c);
        let bytes = layout.channels() * layout.pixels();
        let images: Vec<&[u8]> =
            (0..1 + c.below(3)).map(|_| &*b.filled(c.near(bytes), 200u8)).collect();
        let images = images.repeat(c.of(&[1, 1, 5, 16]));
        let (scale, shift) = (b.floats(c, layout.channels()), b.floats(c, layout.channels()));
        load_images(isa, &images, &layout, scale, shift, b.floats(c, n));
    }),
    ("load_float_images", |c, b, isa| {
        let (layout, n) = laid_out(c);
        let values = layout.channels() * layout.pixels();
        let images: Vec<&[[u8; 4]]> =
            (0..1 + c.below(3)).map(|_| b.filled(4 * c.near(values), 63u8).as_chunks().0).collect();
        let images = images.repeat(c.of(&[1, 1, 5, 16]));
        let (scale, shift) = (b.floats(c, layout.channels()), b.floats(c, layout.channels()));
        load_float_images(isa, &images, &layout, scale, shift, b.floats(c, n));
    }),
    ("sgd", |c, b, isa| {
        let n = len(c);
        let momentum = c.of(&[0.0, 0.9]);
        let step =
            Sgd { lr: 0.1, momentum, nesterov: false, weight_decay: 0.1, gradient_scale: 0.5 };
        let velocity = if momentum == 0.0 { 0 } else { n };
        sgd(isa, &step, b.floats(c, n), b.floats(c, n), b.floats(c, velocity));
    }),
    ("adam", |c, b, isa| {
        let n = len(c);
        let step = Adam {
            lr: 0.1,
            betas: [0.9, 0.99],
            eps: 1e-8,
            weight_decay: 0.1,
            decoupled: c.once_in(2),
            gradient_scale: 1.0,
            step: c.of(&[1, 2, u64::MAX]),
        };
        let (params, gradients) = (b.floats(c, n), b.floats(c, n));
        let state = AdamState { exp_avg: b.floats(c, n), exp_avg_sq: b.floats(c, n) };
        adam(isa, &step, params, gradients, state);
    }),
    ("rms_prop", |c, b, isa| {
        let n = len(c);
        let (momentum, centered) = (c.of(&[0.0, 0.9]), c.once_in(2));
        let step = RmsProp {
            lr: 0.1,
            alpha: 0.9,
            eps: 1e-8,
            momentum,
            centered,
            weight_decay: 0.1,
            gradient_scale: 1.0,
        };
        let (params, gradients) = (b.floats(c, n), b.floats(c, n));
        let state = RmsPropState {
            square_avg: b.floats(c, n),
            grad_avg: b.floats(c, if centered { n } else { 0 }),
            momentum_buffer: b.floats(c, if momentum > 0.0 { n } else { 0 }),
        };
        rms_prop(isa, &step, params, gradients, state);
    }),
    ("adagrad", |c, b, isa| {
        let n = len(c);
        let (lr, lr_decay, eps) = (0.1, 0.1, 1e-8);
        let step = Adagrad { lr, lr_decay, eps, weight_decay: 0.1, gradient_scale: 1.0, step: 3 };
        adagrad(isa, &step, b.floats(c, n), b.floats(c, n), b.floats(c, n));
    }),
];

/// A length of a slice of any use.
fn len(c: &mut Chance) -> usize {
    c.of(&[0, 1, 2, 7, 15, 16, 17, 31, 63, 64, 65, 127, 200, 1000])
}

/// A layout and its length.
fn laid_out(c: &mut Chance) -> (Layout, usize) {
    let layout = c.layout();
    (layout, layout.len())
}

/// A layout of so many classes.
fn classes(c: &mut Chance) -> (Layout, usize) {
    if c.once_in(10) {
        return laid_out(c);
    }
    let layout = Layout::features(c.below(4), 1 + c.below(40));
    (layout, layout.len())
}

fn features(layout: &Layout) -> usize {
    Layout::features(layout.blocks(), layout.channels() * layout.pixels()).len()
}

/// The length of what a pool gives.
fn pooled(layout: &Layout, pool: Pool) -> usize {
    let size = pool.output(layout.size());
    let len = size.map_or(16, |size| layout.with_size(size).len());
    assert!(len <= 1 << 17, "more than is tried");
    len
}

/// A batch norm, and the length of its input.
fn norm<'b>(c: &mut Chance, b: &'b Buffers) -> (BatchNorm<'b>, usize) {
    let (layout, n) = laid_out(c);
    let missing = c.below(16);
    let images = c.near((layout.blocks() * LANES).saturating_sub(missing));
    let (gamma, beta) = (b.floats(c, layout.channels()), b.floats(c, layout.channels()));
    (BatchNorm { layout, images, gamma, beta, epsilon: 1e-5, activation: c.activated() }, n)
}

/// A norm of single images, and the length of its input.
fn image_norm_of<'b>(c: &mut Chance, b: &'b Buffers) -> (ImageNorm<'b>, usize) {
    let (layout, n) = laid_out(c);
    let missing = c.below(16);
    let images = c.near((layout.blocks() * LANES).saturating_sub(missing));
    let count = c.of(&[0, layout.channels(), layout.channels() * layout.pixels()]);
    let (gamma, beta) = (b.floats(c, count), b.floats(c, count));
    (ImageNorm { layout, images, sets: c.sets(layout.channels()), gamma, beta, epsilon: 1e-5 }, n)
}

fn channels<'b>(c: &mut Chance, b: &'b Buffers, op: &BatchNorm) -> &'b mut [f32] {
    b.floats(c, op.layout.channels())
}
