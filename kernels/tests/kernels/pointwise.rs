//! Arithmetic value by value, sums and copies.

use crate::common::{Batch, EPSILON, assert_same_bits, on_every_path, on_every_path_stored};
use kernels::{Isa, LANES, Layout, Store};
use proptest::prelude::*;
use reference::{assert_close, uniform, widen};

fn batches() -> impl Strategy<Value = Batch> {
    (1..50usize, 1..40usize, 1..10usize, 1..10usize)
        .prop_map(|(images, channels, rows, columns)| Batch::new(images, channels, [rows, columns]))
}

/// Rounded once, so equal to the last bit.
#[track_caller]
fn assert_rounded(what: &str, y: &[f32], expected: impl Fn(usize) -> f32) {
    assert_same_bits(what, y, &(0..y.len()).map(expected).collect::<Vec<f32>>());
}

#[test]
fn arithmetic_on_any_length() {
    for len in (0..50).chain([1000, 1023]) {
        let (a, b): (Vec<f32>, Vec<f32>) = (uniform(len, 1), uniform(len, 2));
        on_every_path(
            len,
            |isa, y| kernels::add(isa, &a, &b, kernels::Epilogue::None, y),
            |path, y| assert_rounded(path, y, |i| a[i] + b[i]),
        );
        on_every_path_stored(
            len,
            |isa, y, store| kernels::mul(isa, &a, &b, y, store),
            |path, y| assert_rounded(path, y, |i| a[i] * b[i]),
        );
        on_every_path_stored(
            len,
            |isa, y, store| kernels::scale(isa, &a, 0.7, y, store),
            |path, y| assert_rounded(path, y, |i| a[i] * 0.7),
        );
        for isa in Isa::available() {
            let mut y = a.clone();
            kernels::add_assign(isa, &mut y, &b);
            assert_rounded(isa.name(), &y, |i| a[i] + b[i]);
        }
    }
}

#[test]
fn what_is_not_finite_is_found_anywhere() {
    for len in [0, 1, 15, 16, 17, 64, 100, 131] {
        let mut x = vec![f32::MAX; len];
        for isa in Isa::available() {
            assert!(kernels::all_finite(isa, &x), "{isa}, {len}");
            for i in 0..len {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    x[i] = bad;
                    assert!(!kernels::all_finite(isa, &x), "{isa}, {i} of {len}: {bad}");
                }
                x[i] = -f32::MAX;
            }
        }
    }
}

#[test]
fn clamping_keeps_nan() {
    for len in (0..50).chain([1000]) {
        let mut x: Vec<f32> = uniform(len, 1);
        for (i, special) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0].iter().enumerate() {
            x.iter_mut().skip(11 * i + 3).take(1).for_each(|x| *x = *special);
        }
        on_every_path(
            len,
            |isa, y| {
                y.copy_from_slice(&x);
                kernels::clamp(isa, y, 0.3);
            },
            |path, y| assert_rounded(path, y, |i| x[i].clamp(-0.3, 0.3)),
        );
    }
}

#[test]
fn lerp_is_between() {
    for (len, factor) in
        (0..50).chain([1000]).zip([0.0, 1e-3, 0.1, 0.4999, 0.5, 0.7, 1.0].repeat(9))
    {
        let (a, b): (Vec<f32>, Vec<f32>) = (uniform(len, 1), uniform(len, 2));
        let exact = |i: usize| (1.0 - factor) * f64::from(a[i]) + factor * f64::from(b[i]);
        let exact: Vec<f64> = (0..len).map(exact).collect();
        on_every_path(
            len,
            |isa, y| {
                y.copy_from_slice(&a);
                kernels::lerp(isa, y, &b, factor);
            },
            |path, y| {
                assert_close(path, y, &exact, |_| 2.0 * EPSILON);
                // The ends are met.
                if factor == 0.0 {
                    assert_rounded(path, y, |i| a[i]);
                } else if factor == 1.0 {
                    assert_rounded(path, y, |i| b[i]);
                }
            },
        );
    }
    for isa in Isa::available() {
        let (mut a, mut b) = ([1.0; 37], [1.0; 37]);
        (a[20], b[35]) = (f32::NAN, f32::NAN);
        kernels::lerp(isa, &mut a, &b, 0.1);
        assert!((0..37).all(|i| a[i].is_nan() == (i == 20 || i == 35)), "{isa}");
    }
}

/// The order that its documentation promises, replayed with scalars.
#[test]
fn sum_of_squares_in_the_stated_order() {
    for len in (0..100).chain([1000, 4099]) {
        // Magnitudes of which some vanish beside others.
        let x: Vec<f32> = uniform(len, 3);
        let x: Vec<f32> = (0..len).map(|i| x[i] * 10f32.powi(i as i32 % 31 - 15)).collect();
        let mut chains = [0.0f64; 32];
        for (i, x) in x.iter().enumerate() {
            chains[i % 32] += f64::from(*x).powi(2);
        }
        for width in [16, 8, 4, 2, 1] {
            for i in 0..width {
                chains[i] += chains[i + width];
            }
        }
        let exact: f64 = widen(&x).iter().map(|x| x * x).sum();
        for isa in Isa::available() {
            let sum = kernels::sum_of_squares(isa, &x);
            assert_eq!(sum.to_bits(), chains[0].to_bits(), "{isa}, {len}");
            assert!((sum - exact).abs() <= 1e-14 * exact, "{isa}, {len}: {sum} {exact}");
        }
    }
    for isa in Isa::available() {
        // No overflow, and what is not finite is noticed.
        assert_eq!(kernels::sum_of_squares(isa, &[f32::MAX; 2]), 2.0 * f64::from(f32::MAX).powi(2));
        for at in 0..70 {
            let mut x = [1.0; 70];
            x[at] = f32::NAN;
            assert!(kernels::sum_of_squares(isa, &x).is_nan(), "{isa}, {at}");
        }
    }
}

#[test]
fn dropped_values_are_zero_and_dropped_nan_is_noticed() {
    let masks = [0, 0xffff, 0x8001, 0x5a5a, 0x1234];
    let mut x: Vec<f32> = uniform(masks.len() * LANES, 1);
    let kept = |i: usize| masks[i / LANES] >> (i % LANES) & 1 == 1;
    let expected = |x: &[f32], i: usize| if kept(i) { x[i] * 1.25 } else { 0.0 };
    on_every_path_stored(
        x.len(),
        |isa, y, store| kernels::dropout(isa, &x, &masks, 1.25, y, store),
        |_, y| assert!((0..y.len()).all(|i| y[i] == expected(&x, i)), "{y:?}"),
    );
    x[3] = f32::NAN;
    x[20] = f32::NAN;
    on_every_path(
        x.len(),
        |isa, y| kernels::dropout(isa, &x, &masks, 1.25, y, Store::Overwrite),
        |_, y| assert!((0..y.len()).all(|i| y[i].is_nan() == (i == 3 || i == 20)), "{y:?}"),
    );
}

proptest! {
    #[test]
    fn sum_counts_images_alone(batch in batches(), seed in 0..1000u64) {
        let x = batch.uniform(seed);
        let exact: f64 = widen(&x).iter().sum();
        let depth = (batch.layout.pixels() + 8) as f64;
        let allowance = depth * EPSILON * x.iter().map(|x| f64::from(x.abs())).sum::<f64>();
        let lanes = batch.poisoned(&x);
        on_every_path(
            2,
            |isa, y| {
                let sum = kernels::sum(isa, &lanes, &batch.layout, batch.images);
                // Both halves of the f64, so that the paths are compared to the bit.
                (y[0], y[1]) = (sum as f32, (sum - f64::from(sum as f32)) as f32);
            },
            |path, y| {
                let sum = f64::from(y[0]) + f64::from(y[1]);
                assert!((sum - exact).abs() <= allowance, "{path}: {sum} {exact} {allowance}");
            },
        );
    }

    #[test]
    fn channel_sums_are_bias_gradients(batch in batches(), seed in 0..1000u64) {
        let channels = batch.layout.channels();
        let (dy, before) = (batch.uniform(seed), uniform::<f32>(channels, seed + 1));
        let mut exact = widen(&before);
        let mut magnitude = vec![1.0; channels];
        for (i, dy) in dy.iter().enumerate() {
            let c = i / batch.layout.pixels() % channels;
            exact[c] += f64::from(*dy);
            magnitude[c] += f64::from(dy.abs());
        }
        // Zeros beyond the images, as gradients have; anything in the unused vectors.
        let mut lanes = batch.lanes(&dy);
        for plane in lanes.chunks_exact_mut(batch.layout.plane() * LANES) {
            plane[batch.layout.pixels() * LANES..].fill(f32::NAN);
        }
        let depth = (batch.layout.pixels() + batch.layout.blocks() + 6) as f64;
        on_every_path(
            channels,
            |isa, db| {
                db.copy_from_slice(&before);
                kernels::channel_sums(isa, &lanes, &batch.layout, db);
            },
            |path, db| assert_close(path, db, &exact, |c| depth * EPSILON * magnitude[c]),
        );
    }

    #[test]
    fn flatten_and_back(batch in batches(), seed in 0..1000u64) {
        let Batch { images, layout } = batch;
        let flat = Batch::new(images, layout.channels() * layout.pixels(), [1, 1]);
        let x = batch.uniform(seed);
        on_every_path(
            flat.layout.len(),
            |isa, y| kernels::flatten(isa, &batch.lanes(&x), &layout, y),
            |path, y| assert_same_bits(path, y, &flat.lanes(&x)),
        );
        on_every_path_stored(
            layout.len(),
            |isa, dx, store| kernels::unflatten(isa, &flat.lanes(&x), &layout, dx, store),
            |path, dx| assert_same_bits(path, &batch.rows(dx), &x),
        );
    }
}

/// The order that the documentation of `channel_sums` promises, replayed with scalars.
#[test]
fn channel_sums_in_the_stated_order() {
    let batch = Batch::new(40, 3, [5, 6]);
    let dy = batch.lanes(&batch.uniform(7));
    let mut expected = [0.25f32; 3];
    for (plane, values) in dy.chunks_exact(batch.layout.plane() * LANES).enumerate() {
        let mut lanes = [0.0; LANES];
        for (lane, sum) in lanes.iter_mut().enumerate() {
            let mut rows = [0.0f32; 2];
            for pixel in 0..30 {
                rows[pixel / 6 % 2] += values[pixel * LANES + lane];
            }
            *sum = rows[0] + rows[1];
        }
        for width in [8, 4, 2, 1] {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
        }
        expected[plane % 3] += lanes[0];
    }
    for isa in Isa::available() {
        let mut db = [0.25; 3];
        kernels::channel_sums(isa, &dy, &batch.layout, &mut db);
        assert_same_bits(isa.name(), &db, &expected);
    }
}

#[test]
fn nothing_is_no_trouble() {
    for layout in [Layout::new(0, 3, [2, 2]), Layout::new(2, 0, [2, 2]), Layout::features(0, 0)] {
        for isa in Isa::available() {
            kernels::flatten(isa, &[], &layout, &mut []);
            kernels::unflatten(isa, &[], &layout, &mut [], Store::Accumulate);
            assert_eq!(kernels::sum(isa, &[], &layout, 0), 0.0);
            let mut db = vec![1.0; layout.channels()];
            kernels::channel_sums(isa, &[], &layout, &mut db);
            assert!(db.iter().all(|db| *db == 1.0));
        }
    }
}
