//! Pooling against the reference, over shapes and windows.

use crate::common::{Batch, EPSILON, assert_same_bits, on_every_path, on_every_path_stored};
use kernels::{Isa, LANES, Layout, Pool, Window};
use proptest::prelude::*;
use reference::{self, Planes, WindowLimits, assert_close, magnitude, separated, uniform, widen};

const LIMITS: WindowLimits = WindowLimits { kernel: [3, 3], padding: 2, dilation: 2, size: 10 };

/// A batch and a pool that fits it.
fn cases() -> impl Strategy<Value = (Batch, Pool)> {
    let halving =
        [2..=10usize, 2..=10usize].prop_map(|size| (Window::new([2, 2]).stride(2).into(), size));
    (1..40usize, 1..5usize, prop_oneof![1 => halving, 3 => LIMITS.pools()])
        .prop_map(|(images, channels, (pool, size))| (Batch::new(images, channels, size), pool))
}

fn through(batch: &Batch, pool: impl Into<Pool>) -> Batch {
    batch.sized(pool.into().output(batch.layout.size()).unwrap())
}

/// No more values than so many are seen by an output, and no more outputs see a value.
const MOST: f64 = 100.0;

/// Integers from −3 to 3, so with many ties, some zeros negative.
fn with_ties(len: usize, seed: u64) -> Vec<f32> {
    uniform::<f32>(len, seed).iter().map(|x| (x * 3.0).round()).collect()
}

fn check_max(batch: &Batch, pool: Pool, x: &[f32]) {
    let (planes, output) = (batch.planes(), through(batch, pool));
    let expected = reference::max_pool2d(&planes, pool, x);
    let lanes = batch.poisoned(x);
    on_every_path(
        output.layout.len(),
        |isa, y| kernels::max_pool(isa, &lanes, &batch.layout, pool, y),
        |path, y| assert_same_bits(path, &output.rows(y), &expected),
    );
}

fn check_max_backward(batch: &Batch, pool: Pool, x: &[f32]) {
    let (planes, output) = (batch.planes(), through(batch, pool));
    let (y, dy) = (reference::max_pool2d(&planes, pool, x), output.uniform(1));
    let exact = reference::max_pool2d_backward(&planes, pool, &widen(x), &widen(&dy));
    let sums = reference::max_pool2d_backward(&planes, pool, &widen(x), &magnitude(&dy));
    let inputs = [batch.poisoned(x), output.poisoned(&y)];
    let dy = output.poisoned(&dy);
    on_every_path_stored(
        batch.layout.len(),
        |isa, dx, store| {
            let inputs = [inputs[0].as_slice(), &inputs[1]];
            kernels::max_pool_backward(isa, inputs, &dy, &batch.layout, pool, dx, store);
        },
        |path, dx| {
            let allowance = |i: usize| MOST * EPSILON * sums[i];
            assert_close(path, &batch.rows(dx), &exact, allowance);
        },
    );
}

proptest! {
    #[test]
    fn max_pool((batch, pool) in cases(), seed in 0..1000u64) {
        check_max(&batch, pool, &batch.uniform(seed));
        check_max(&batch, pool, &with_ties(batch.planes().len(), seed));
    }

    #[test]
    fn max_pool_lets_nan_through((batch, pool) in cases(), place in any::<prop::sample::Index>()) {
        let mut x = separated(batch.planes().len(), 0.5, 1);
        let place = place.index(x.len());
        x[place] = f32::NAN;
        check_max(&batch, pool, &x);
        x.fill(f32::NAN);
        check_max(&batch, pool, &x);
    }

    #[test]
    fn max_pool_backward((batch, pool) in cases(), seed in 0..1000u64) {
        check_max_backward(&batch, pool, &batch.uniform(seed));
        check_max_backward(&batch, pool, &with_ties(batch.planes().len(), seed));
    }

    #[test]
    fn avg_pool((batch, pool) in cases(), seed in 0..1000u64) {
        let (planes, output) = (batch.planes(), through(&batch, pool));
        let allowance = |sum: f64| MOST * EPSILON * sum;
        let x = batch.uniform(seed);
        let exact = reference::avg_pool2d(&planes, pool, &widen(&x));
        let sums = reference::avg_pool2d(&planes, pool, &magnitude(&x));
        let lanes = batch.poisoned(&x);
        on_every_path(
            output.layout.len(),
            |isa, y| kernels::avg_pool(isa, &lanes, &batch.layout, pool, y),
            |path, y| assert_close(path, &output.rows(y), &exact, |i| allowance(sums[i])),
        );
        let dy = output.uniform(seed + 1);
        let exact = reference::avg_pool2d_backward(&planes, pool, &widen(&dy));
        let sums = reference::avg_pool2d_backward(&planes, pool, &magnitude(&dy));
        let lanes = output.poisoned(&dy);
        on_every_path_stored(
            batch.layout.len(),
            |isa, dx, store| {
                kernels::avg_pool_backward(isa, &lanes, &batch.layout, pool, dx, store);
            },
            |path, dx| assert_close(path, &batch.rows(dx), &exact, |i| allowance(sums[i])),
        );
    }

    #[test]
    fn global_avg_pool((batch, _) in cases(), seed in 0..1000u64) {
        let (planes, output) = (batch.planes(), batch.sized([1, 1]));
        let x = batch.uniform(seed);
        let exact = reference::global_avg_pool2d(&planes, &widen(&x));
        let sums = reference::global_avg_pool2d(&planes, &magnitude(&x));
        let terms = (batch.layout.pixels() + 1) as f64;
        let lanes = batch.poisoned(&x);
        on_every_path(
            output.layout.len(),
            |isa, y| kernels::global_avg_pool(isa, &lanes, &batch.layout, y),
            |path, y| assert_close(path, &output.rows(y), &exact, |i| terms * EPSILON * sums[i]),
        );
        let dy = output.uniform(seed + 1);
        let exact = reference::global_avg_pool2d_backward(&planes, &widen(&dy));
        let lanes = output.poisoned(&dy);
        on_every_path_stored(
            batch.layout.len(),
            |isa, dx, store| {
                kernels::global_avg_pool_backward(isa, &lanes, &batch.layout, dx, store);
            },
            |path, dx| assert_close(path, &batch.rows(dx), &exact, |i| EPSILON * exact[i].abs()),
        );
    }

    /// The masks of ReLU and max-pool, made from the inputs of both, lead to the gradient that the
    /// two give one after the other, and to the bits of `channel_sums`.
    #[test]
    fn unpool(
        images in 1..40usize, channels in 1..40usize, rows in 2..11usize, columns in 2..11usize,
        seed in 0..1000u64,
    ) {
        check_unpool(&Batch::new(images, channels, [rows, columns]), seed);
    }
}

fn check_unpool(batch: &Batch, seed: u64) {
    let halving = Window::new([2, 2]).stride(2);
    let (planes, output) = (batch.planes(), through(batch, halving));
    let x: Vec<f32> = with_ties(planes.len(), seed);
    let masks = masks(batch, halving.into(), &x);
    let dy = output.uniform(seed + 1);
    let rectified = reference::relu(&x);
    let passed = reference::max_pool2d_backward(&planes, halving, &rectified, &dy);
    let expected = reference::relu_backward(&x, &passed);
    // Beyond the images no mask is set, so that whatever is there has no effect.
    let dy = output.poisoned(&dy);
    let biases = uniform::<f32>(batch.layout.channels(), seed + 2);
    let (pooled, full) = (&output.layout, &batch.layout);
    on_every_path(
        full.len(),
        |isa, out| {
            let mut db = biases.clone();
            kernels::unpool(isa, &masks, &dy, pooled, full, out, Some(&mut db));
            let mut sums = biases.clone();
            kernels::channel_sums(isa, out, full, &mut sums);
            assert_same_bits(isa.name(), &db, &sums);
            let mut again = vec![f32::NAN; full.len()];
            kernels::unpool(isa, &masks, &dy, pooled, full, &mut again, None);
            assert_same_bits(isa.name(), &again, out);
        },
        |path, out| assert_same_bits(path, &batch.rows(out), &expected),
    );
}

/// What the forward pass of a fused convolution would leave.
fn masks(batch: &Batch, pool: Pool, x: &[f32]) -> Vec<[u16; 4]> {
    let output = through(batch, pool);
    let Planes { channels, size, .. } = output.planes();
    let mut masks = vec![[0; 4]; output.layout.blocks() * channels * size[0] * size[1]];
    let sources = reference::max_pool2d_sources(&batch.planes(), pool, &reference::relu(x));
    for (i, source) in sources.iter().enumerate() {
        let source = source.unwrap();
        let (pixel, plane) = (i % (size[0] * size[1]), i / (size[0] * size[1]));
        let (channel, image) = (plane % channels, plane / channels);
        let [rows, columns] = batch.layout.size();
        let tap = source / columns % rows % 2 * 2 + source % columns % 2;
        if x[source] > 0.0 {
            let place = (image / LANES * channels + channel) * size[0] * size[1] + pixel;
            masks[place][tap] |= 1 << (image % LANES);
        }
    }
    masks
}

/// The sizes of LeNet, whose planes have an unused vector.
#[test]
fn unpool_in_lenet() {
    check_unpool(&Batch::new(32, 6, [24, 24]), 1);
    check_unpool(&Batch::new(32, 16, [8, 8]), 2);
}

#[test]
fn windows_with_nothing_inside() {
    // Two taps, three apart, on both sides of a plane of two columns.
    let window = Window { padding: [0, 1], dilation: [1, 3], ..Window::new([1, 2]) };
    let layout = Layout::new(1, 1, [1, 2]);
    for isa in Isa::available() {
        let (x, mut y) = ([1.0; 32], [f32::NAN; 16]);
        kernels::max_pool(isa, &x, &layout, window, &mut y);
        assert_eq!(y, [f32::NEG_INFINITY; 16]);
        let mut dx = [f32::NAN; 32];
        let store = kernels::Store::Overwrite;
        kernels::max_pool_backward(isa, [&x, &y], &[1.0; 16], &layout, window, &mut dx, store);
        assert_eq!(dx, [0.0; 32]);
        kernels::avg_pool(isa, &x, &layout, window, &mut y);
        assert_eq!(y, [0.0; 16]);
    }
}
