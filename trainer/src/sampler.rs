//! Which images a batch holds.

use autograd::{Philox, Purpose, below};

/// The images of an epoch in their order: a permutation that is a function of seed and epoch.
pub(crate) fn shuffle(seed: u64, epoch: u32, images: &mut [u32]) {
    let philox = Philox::new(seed, Purpose::Shuffle);
    permute(images, |group| philox.words([epoch, group, 0, 0]));
}

/// Splits `images` into those to train on and `held_out` to validate on, both in file order.
pub(crate) fn hold_out(seed: u64, images: usize, held_out: usize) -> (Vec<u32>, Vec<u32>) {
    let philox = Philox::new(seed, Purpose::Split);
    let mut all: Vec<u32> = (0..images as u32).collect();
    permute(&mut all, |group| philox.words([group, 0, 0, 0]));
    let mut validation = all.split_off(images - held_out);
    all.sort_unstable();
    validation.sort_unstable();
    (all, validation)
}

/// The shuffle of Fisher and Yates; position `i` takes word `i mod 4` of group ⌊i / 4⌋.
pub(crate) fn permute(items: &mut [u32], words: impl Fn(u32) -> [u32; 4]) {
    let mut group = u32::MAX;
    let mut current = [0; 4];
    for i in (1..items.len()).rev() {
        if group != i as u32 / 4 {
            group = i as u32 / 4;
            current = words(group);
        }
        items.swap(i, below(current[i % 4], i as u32 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_that_depends_on_seed_and_epoch() {
        let order = |seed, epoch| {
            let mut images: Vec<u32> = (0..1000).collect();
            shuffle(seed, epoch, &mut images);
            images
        };
        let mut sorted = order(1, 0);
        assert_eq!(order(1, 0), sorted);
        assert_ne!(order(1, 1), sorted);
        assert_ne!(order(2, 0), sorted);
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..1000));
    }

    #[test]
    fn held_out_images_are_not_trained_on() {
        let (train, validation) = hold_out(3, 100, 30);
        assert_eq!((train.len(), validation.len()), (70, 30));
        assert!(validation.iter().all(|i| !train.contains(i)));
    }

    /// Each of 24 orders of four items, within five standard deviations.
    #[test]
    fn every_order_is_as_likely() {
        let mut counts = std::collections::HashMap::new();
        for epoch in 0..24_000 {
            let mut items = [0, 1, 2, 3];
            shuffle(9, epoch, &mut items);
            *counts.entry(items).or_insert(0i32) += 1;
        }
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|&n| (n - 1000).abs() < 5 * 32), "{counts:?}");
    }
}
