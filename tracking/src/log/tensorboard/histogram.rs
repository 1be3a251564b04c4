//! How values are distributed, in the buckets that TensorFlow's summaries have: their limits grow by
//! a tenth from ±1e-12 to ±1e20.

use super::messages::HistogramProto;
use std::sync::LazyLock;

/// Bits of a float that make its key: sign, exponent, and so much of the mantissa that values of one
/// key meet one limit at most.
const KEY_BITS: u32 = 13;

static BUCKETS: LazyLock<Buckets> = LazyLock::new(Buckets::new);

struct Buckets {
    /// Bucket `i` holds `limits[i - 1] <= value < limits[i]`.
    limits: Vec<f64>,
    /// The bucket of the smallest value of each key.
    first: Vec<u16>,
}

/// Of all values that are finite; others count nowhere.
pub(super) fn histogram(values: &[f32]) -> HistogramProto {
    let buckets = &*BUCKETS;
    let mut counts = vec![0u64; buckets.limits.len()];
    let (mut min, mut max) = (f32::INFINITY, f32::NEG_INFINITY);
    let (mut num, mut sum, mut sum_squares) = (0u64, 0.0, 0.0);
    for &value in values.iter().filter(|value| value.is_finite()) {
        counts[buckets.find(value)] += 1;
        (min, max) = (min.min(value), max.max(value));
        num += 1;
        let value = f64::from(value);
        sum += value;
        sum_squares += value * value;
    }
    if num == 0 {
        (min, max) = (0.0, 0.0);
    }
    let (bucket_limit, bucket) = joined(&buckets.limits, &counts);
    let (min, max) = (min.into(), max.into());
    HistogramProto { min, max, num: num as f64, sum, sum_squares, bucket_limit, bucket }
}

/// Limits and counts with neighbouring empty buckets made one, and none after the last value.
fn joined(limits: &[f64], counts: &[u64]) -> (Vec<f64>, Vec<f64>) {
    let filled = counts.iter().rposition(|&count| count > 0).map_or(1, |last| last + 1);
    let buckets = limits.iter().zip(counts).take(filled).enumerate();
    let ends_run = |i: usize| counts[i] > 0 || i + 1 == filled || counts[i + 1] > 0;
    buckets.filter(|(i, _)| ends_run(*i)).map(|(_, (limit, &count))| (limit, count as f64)).unzip()
}

impl Buckets {
    fn new() -> Buckets {
        let mut positive: Vec<f64> = vec![];
        let mut limit = 1e-12;
        while limit < 1e20 {
            positive.push(limit);
            limit *= 1.1;
        }
        positive.push(f64::MAX);
        let negative = positive.iter().rev().map(|limit| -limit);
        let limits: Vec<f64> = negative.chain([0.0]).chain(positive.iter().copied()).collect();
        let first = (0..1 << KEY_BITS).map(|key: u32| {
            let ends = [key << (32 - KEY_BITS), ((key + 1) << (32 - KEY_BITS)).wrapping_sub(1)];
            let [a, b] = ends.map(f32::from_bits);
            limits.partition_point(|&limit| limit <= f64::from(a.min(b))) as u16
        });
        Buckets { first: first.collect(), limits }
    }

    fn find(&self, value: f32) -> usize {
        let first = self.first[(value.to_bits() >> (32 - KEY_BITS)) as usize] as usize;
        first + usize::from(self.limits[first] <= value.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also of the values beside each limit, where a shortcut would go wrong.
    #[test]
    fn a_value_is_found_in_its_bucket() {
        let buckets = &*BUCKETS;
        let beside = buckets.limits.iter().flat_map(|&limit| {
            let near = limit as f32;
            [near.next_down(), near, near.next_up()]
        });
        let others = (0..1u32 << 20).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9)));
        for value in beside.chain(others).chain([0.0, -0.0]).filter(|v| v.is_finite()) {
            let expected = buckets.limits.partition_point(|&limit| limit <= f64::from(value));
            assert_eq!(buckets.find(value), expected, "{value}");
        }
    }

    #[test]
    fn values_that_are_not_finite_count_nowhere() {
        let found = histogram(&[f32::NAN, 2.0, f32::INFINITY, -3.0, f32::NEG_INFINITY]);
        assert_eq!((found.min, found.max, found.num), (-3.0, 2.0, 2.0));
        assert_eq!((found.sum, found.sum_squares), (-1.0, 13.0));
        assert_eq!(found.bucket, [0.0, 1.0, 0.0, 1.0]);
        assert!(found.bucket_limit[0] <= -3.0 && found.bucket_limit[1] > -3.0);
        assert!(found.bucket_limit[2] <= 2.0 && found.bucket_limit[3] > 2.0);
        for values in [&[][..], &[f32::NAN]] {
            let empty = histogram(values);
            assert_eq!((empty.min, empty.max, empty.num), (0.0, 0.0, 0.0));
            assert_eq!(empty.bucket, [0.0]);
        }
    }

    #[test]
    fn the_largest_values_have_a_bucket() {
        let found = histogram(&[f32::MAX, f32::MIN, 0.0]);
        assert_eq!(found.bucket.iter().sum::<f64>(), 3.0);
        assert_eq!(found.bucket_limit.last(), Some(&f64::MAX));
    }
}
