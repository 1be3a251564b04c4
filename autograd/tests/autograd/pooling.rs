//! Max-pool, average pool, global average pool.

use crate::harness::*;
use kernels::{Pool, Window};
use proptest::prelude::*;
use reference::*;

fn pools() -> impl Strategy<Value = (Planes, Pool)> {
    let halving = (2..=9usize, 2..=9usize)
        .prop_map(|(rows, columns)| (Window::new([2, 2]).stride(2).into(), [rows, columns]));
    (prop_oneof![LIMITS.pools(), halving], images(), 1..=4usize)
        .prop_map(|((pool, size), images, channels)| (Planes { images, channels, size }, pool))
}

proptest! {
    /// Quarters make equal values in a window frequent: the first must get the gradient.
    #[test]
    fn max_pool2d_and_its_gradients(
        (planes, pool) in pools(),
        numbers in numbers(),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let case = Case::new(numbers, seed, &[planes], &[]).shared(shared);
        let x = case.x(0);
        let y = max_pool2d(&planes, pool, &x);
        // A window with nothing of the plane in it is −∞, and its functional no number.
        prop_assume!(y.iter().all(|y| y.is_finite()));
        case.on_every_path(|tape, x, _| tape.max_pool2d(x[0], pool), |got| {
            case.check("y", &got.y, Expected::exactly(y.clone()))?;
            let dx = max_pool2d_backward(&planes, pool, &x, &widen(&got.r));
            let size = max_pool2d_backward(&planes, pool, &x, &magnitude(&got.r));
            case.check_dx(0, got, Expected::sums(planes.pixels() * 4, dx, size))
        })?;
    }

    #[test]
    fn avg_pool2d_and_its_gradients(
        (planes, pool) in pools(),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let case = Case::new(Numbers::Any, seed, &[planes], &[]).shared(shared);
        let [y, size] = [case.x(0), case.abs_x(0)].map(|x| avg_pool2d(&planes, pool, &x));
        // The division is one more rounding.
        let terms = planes.pixels() + 1;
        let y = Expected::sums(terms, y, size);
        case.on_every_path(|tape, x, _| tape.avg_pool2d(x[0], pool), |got| {
            case.check("y", &got.y, y.clone())?;
            let [dx, size] = [widen(&got.r), magnitude(&got.r)]
                .map(|dy| avg_pool2d_backward(&planes, pool, &dy));
            case.check_dx(0, got, Expected::sums(terms, dx, size))
        })?;
    }

    #[test]
    fn global_avg_pool2d_and_its_gradients(
        planes in planes(),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let case = Case::new(Numbers::Any, seed, &[planes], &[]).shared(shared);
        let [y, size] = [case.x(0), case.abs_x(0)].map(|x| global_avg_pool2d(&planes, &x));
        let y = Expected::sums(planes.pixels() + 1, y, size);
        case.on_every_path(|tape, x, _| tape.global_avg_pool2d(x[0]), |got| {
            case.check("y", &got.y, y.clone())?;
            let [dx, size] = [widen(&got.r), magnitude(&got.r)]
                .map(|dy| global_avg_pool2d_backward(&planes, &dy));
            case.check_dx(0, got, Expected::sums(1, dx, size))
        })?;
    }
}
