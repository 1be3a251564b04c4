//! Reproducible inputs for tests.

use crate::Real;

/// SplitMix64 (Steele, Lea, Flood 2014): the state advances by the golden ratio, the output is the
/// state with its bits mixed.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// `len` values in [−1, 1) that depend on the seed alone; in `f32` they are those of `f64` rounded.
pub fn uniform<T: Real>(len: usize, seed: u64) -> Vec<T> {
    let mut random = SplitMix64(seed);
    (0..len).map(|_| T::from_f64(2.0 * random.unit() - 1.0)).collect()
}

/// `len` values in random order, any two of them at least `gap` apart and each at least `gap / 2`
/// from zero: away from the kinks of ReLU and max-pooling, for steps shorter than `gap / 2`.
///
/// They are the odd multiples of `gap / 2` nearest to zero.
pub fn separated<T: Real>(len: usize, gap: f64, seed: u64) -> Vec<T> {
    let mut random = SplitMix64(seed);
    let place = |i: usize| T::from_f64((i as f64 + 0.5 - (len / 2) as f64) * gap);
    let mut values: Vec<T> = (0..len).map(place).collect();
    for i in (1..len).rev() {
        values.swap(i, (random.next() % (i as u64 + 1)) as usize);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_fills_its_range() {
        let x: Vec<f64> = uniform(10_000, 1);
        assert!(x.iter().all(|x| (-1.0..1.0).contains(x)));
        for tenth in 0..10 {
            let low = -1.0 + f64::from(tenth) * 0.2;
            let inside = x.iter().filter(|x| (low..low + 0.2).contains(*x)).count();
            assert!((850..1150).contains(&inside), "{inside} from {low}");
        }
        assert_eq!(x, uniform::<f64>(10_000, 1));
        assert_ne!(x, uniform::<f64>(10_000, 2));
    }

    #[test]
    fn separated_values_are_apart_and_shuffled() {
        for len in [1, 2, 7, 100] {
            let x: Vec<f64> = separated(len, 0.25, 3);
            assert!(x.iter().all(|x| x.abs() >= 0.125));
            let mut sorted = x.clone();
            sorted.sort_by(f64::total_cmp);
            assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] == 0.25));
            assert!(len < 7 || sorted != x);
        }
    }
}
