//! What joins tensors, against the reference and to the bit, on every path.

use crate::common::{
    Batch, EPSILON, assert_same_bits, on_every_path, on_every_path_stored, relu_if,
};
use kernels::{Isa, LANES, Layout, Store, channel_layout};
use proptest::prelude::*;
use reference::{assert_close, scale_planes, scale_planes_backward, uniform, widen};

fn batches() -> impl Strategy<Value = Batch> {
    (1..50usize, 1..20usize, 1..10usize, 1..10usize)
        .prop_map(|(images, channels, rows, columns)| Batch::new(images, channels, [rows, columns]))
}

#[test]
fn sums_in_place() {
    for len in (0..50).chain([1000, 1023]) {
        let (mut a, b): (Vec<f32>, Vec<f32>) = (uniform(len, 1), uniform(len, 2));
        a.iter_mut().skip(5).take(1).for_each(|a| *a = f32::NAN);
        for relu in [false, true] {
            let add = |isa: Isa, y: &mut [f32]| {
                y.copy_from_slice(&a);
                kernels::add_to(isa, y, &b, relu_if(relu));
            };
            let sum = |i: usize| a[i] + b[i];
            // A NaN stays one.
            let expected = |i| if relu && sum(i) <= 0.0 { 0.0 } else { sum(i) };
            let expected: Vec<f32> = (0..len).map(expected).collect();
            on_every_path(len, add, |path, y| assert_same_bits(path, y, &expected));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn planes_times_a_value_each(batch in batches(), seed in any::<u32>()) {
        let (x, seed) = (batch.uniform(seed.into()), u64::from(seed));
        let scales = batch.sized([1, 1]);
        let factors = scales.uniform(seed ^ 1);
        let (pixels, layout) = (batch.layout.pixels(), batch.layout);
        let (x_lanes, factors_lanes) = (batch.poisoned(&x), scales.poisoned(&factors));
        let exact = scale_planes(pixels, &widen(&x), &widen(&factors));
        on_every_path_stored(
            layout.len(),
            |isa, y, store| kernels::scale_planes(isa, &layout, &x_lanes, &factors_lanes, y, store),
            |path, y| {
                // One product, rounded once.
                let rounded: Vec<f32> = exact.iter().map(|y| *y as f32).collect();
                assert_same_bits(path, &batch.rows(y), &rounded);
            },
        );

        let dy = batch.uniform(seed ^ 2);
        let dy_lanes = batch.poisoned(&dy);
        let (_, exact) = scale_planes_backward(pixels, &widen(&x), &widen(&factors), &widen(&dy));
        on_every_path_stored(
            scales.layout.len(),
            |isa, y, store| kernels::plane_products(isa, &layout, &x_lanes, &dy_lanes, y, store),
            |path, y| {
                let allowance = EPSILON * (pixels as f64).max(2.0);
                assert_close(path, &scales.rows(y), &exact, |_| allowance);
            },
        );
    }

    /// Channels are copied, with the unused vectors between them, and taken back.
    #[test]
    fn channels_side_by_side(
        batch in batches(),
        (before, after) in (0..5usize, 0..5usize),
        seed in any::<u32>(),
    ) {
        let layout = batch.layout;
        let channels = layout.channels();
        let to = Layout::new(layout.blocks(), before + channels + after, layout.size());
        let x: Vec<f32> = uniform(layout.len(), seed.into());
        let mut y = vec![f32::NAN; to.len()];
        kernels::place_planes(&x, &layout, before, &to, &mut y);
        let plane = layout.plane() * LANES;
        for (p, values) in y.chunks_exact(plane).enumerate() {
            let (block, channel) = (p / to.channels(), p % to.channels());
            let own = (before..before + channels).contains(&channel);
            prop_assert!(own || values.iter().all(|v| v.is_nan()), "plane {}", p);
            if own {
                let from = &x[(block * channels + channel - before) * plane..][..plane];
                prop_assert_eq!(values, from);
            }
        }
        on_every_path_stored(
            x.len(),
            |isa, dx, store| kernels::take_planes(isa, &y, &to, before, &layout, dx, store),
            |path, dx| assert_same_bits(path, dx, &x),
        );
    }

    /// The same with channels in the lanes: every value at its place, and no other is touched.
    #[test]
    fn channels_in_lanes_side_by_side(
        (images, channels) in (1..4usize, 1..40usize),
        (before, after) in (0..40usize, 0..20usize),
        size in [1..4usize, 1..6usize],
        seed in any::<u32>(),
    ) {
        let from = channel_layout(images, channels, size);
        let to = channel_layout(images, before + channels + after, size);
        let x: Vec<f32> = uniform(from.len(), seed.into());
        let mut y = vec![f32::NAN; to.len()];
        kernels::place_channels(&x, &from, channels, before, &to, &mut y);
        let at = |layout: &Layout, image, channel: usize, pixel: [usize; 2]| {
            channel / LANES * layout.block_len() + layout.offset(image, pixel) + channel % LANES
        };
        let pixels = (0..size[0]).flat_map(|y| (0..size[1]).map(move |x| [y, x]));
        for (image, pixel) in (0..images).flat_map(|i| pixels.clone().map(move |p| (i, p))) {
            for channel in 0..before + channels + after {
                let found = y[at(&to, image, channel, pixel)];
                match channel.checked_sub(before).filter(|c| *c < channels) {
                    Some(own) => prop_assert_eq!(found, x[at(&from, image, own, pixel)]),
                    // Beyond the last of them a lane holds anything.
                    None => prop_assert!(found.is_nan() || channel >= before + channels),
                }
            }
        }
    }
}

#[test]
fn wrong_lengths_are_refused() {
    let [layout, to] = [2, 4].map(|channels| Layout::new(1, channels, [3, 3]));
    let isa = Isa::detect();
    let refused = |call: &mut dyn FnMut()| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(call))
            .expect_err("a length is wrong");
    };
    let (x, mut y) = (vec![0.0; layout.len()], vec![0.0; to.len()]);
    refused(&mut || kernels::place_planes(&x, &layout, 3, &to, &mut y));
    refused(&mut || kernels::place_planes(&x, &layout, usize::MAX, &to, &mut y));
    refused(&mut || kernels::place_planes(&x[1..], &layout, 0, &to, &mut y));
    let mut short = vec![0.0; layout.len() - 1];
    let store = Store::Overwrite;
    refused(&mut || kernels::take_planes(isa, &y, &to, 0, &layout, &mut short, store));
    let mut same = x.clone();
    refused(&mut || kernels::scale_planes(isa, &layout, &x, &x, &mut same, store));
    refused(&mut || kernels::plane_products(isa, &layout, &x, &x, &mut same, store));
    refused(&mut || kernels::add_to(isa, &mut short, &x, relu_if(false)));
}
