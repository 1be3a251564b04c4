//! PReLU against the reference.

use crate::common::{Batch, EPSILON, assert_same_bits, on_every_path, on_every_path_stored};
use kernels::{Isa, Store};
use proptest::prelude::*;
use reference::{self, assert_close, magnitude, uniform, widen};

proptest! {
    #[test]
    fn forward_and_backward(
        images in 1..50usize, channels in 1..40usize, size in [1..9usize, 1..9usize],
        one in any::<bool>(), seed in 0..1000u64,
    ) {
        let batch = Batch::new(images, channels, size);
        let (planes, layout) = (batch.planes(), batch.layout);
        let (x, dy) = (batch.uniform(seed), batch.uniform(seed + 1));
        let slopes = uniform::<f32>(if one { 1 } else { channels }, seed + 2);
        let exact = reference::prelu(&planes, &x, &slopes);
        let inputs = [batch.poisoned(&x), batch.lanes(&dy)];
        on_every_path(
            layout.len(),
            |isa, y| kernels::prelu(isa, &inputs[0], &layout, &slopes, y),
            |path, y| assert_same_bits(path, &batch.rows(y), &exact),
        );
        let before = uniform::<f32>(slopes.len(), seed + 3);
        let run = |isa: Isa, dx: Option<(&mut [f32], Store)>| {
            let (mut dslopes, mut room) = (before.clone(), vec![f32::NAN; channels]);
            // Zeros beyond the images, as all tensors have in their lanes.
            let x = batch.lanes(&x);
            let to = (&mut dslopes[..], &mut room[..]);
            kernels::prelu_backward(isa, [&x, &inputs[1]], &layout, &slopes, to, dx);
            dslopes
        };
        let (dx, sums) = reference::prelu_backward(&planes, &widen(&x), &widen(&slopes), &widen(&dy));
        on_every_path_stored(
            layout.len(),
            |isa, dx, store| drop(run(isa, Some((dx, store)))),
            |path, y| {
                assert_close(path, &batch.rows(y), &dx, |i| EPSILON * f64::from(dy[i].abs()));
            },
        );
        let minus: Vec<f64> = magnitude(&x).iter().map(|x| -x).collect();
        let (_, sizes) = reference::prelu_backward(&planes, &minus, &widen(&slopes), &magnitude(&dy));
        on_every_path(
            slopes.len(),
            |isa, all| {
                let mut dx = vec![f32::NAN; layout.len()];
                all.copy_from_slice(&run(isa, Some((&mut dx, Store::Overwrite))));
                assert_same_bits(isa.name(), all, &run(isa, None));
            },
            |path, all| {
                let depth = (planes.len() + 8) as f64;
                let exact: Vec<f64> =
                    sums.iter().zip(&before).map(|(sum, old)| sum + f64::from(*old)).collect();
                assert_close(path, all, &exact, |c| depth * EPSILON * (1.0 + sizes[c].abs()));
            },
        );
    }
}

#[test]
#[should_panic(expected = "2 slopes for 3 channels")]
fn slopes_must_be_one_or_one_each() {
    let batch = Batch::new(1, 3, [1, 1]);
    let x = batch.lanes(&[0.0; 3]);
    kernels::prelu(Isa::detect(), &x, &batch.layout, &[0.1, 0.2], &mut x.clone());
}
