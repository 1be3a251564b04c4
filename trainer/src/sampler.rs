//! Which images a batch holds.

use crate::data::Share;
use crate::ranks::shards_of;
use autograd::{Philox, Purpose, below};

/// The images of an epoch in their order: a permutation that is a function of seed and epoch.
pub(crate) fn shuffle(seed: u64, epoch: u32, images: &mut [u32]) {
    let philox = Philox::new(seed, Purpose::Shuffle);
    permute(images, |group| philox.words([epoch, group, 0, 0]));
}

/// The order of an epoch for a rank that holds a share of the images. Where a batch has its shards,
/// there are its own images: shuffled by (seed, epoch, rank), and shuffled anew when they are used up
/// before the epoch is. Where other ranks have theirs is an own image too, at which nobody looks.
pub(crate) fn deal(
    seed: u64,
    epoch: u32,
    share: &Share,
    [batch, shard]: [usize; 2],
    order: &mut Vec<u32>,
) {
    let philox = Philox::new(seed, Purpose::Shuffle);
    let rank = share.rank as u32;
    let mut own: Vec<u32> = vec![];
    let mut pass = 0;
    order.clear();
    order.resize(share.images, share.own.start);
    for batch in order.chunks_mut(batch) {
        let shards = shards_of(batch.len().div_ceil(shard), share.rank, share.ranks);
        let end = batch.len().min(shards.end * shard);
        for place in &mut batch[end.min(shards.start * shard)..end] {
            if own.is_empty() {
                own.extend(share.own.clone());
                permute(&mut own, |group| philox.words([epoch, group, 1 + rank, pass]));
                pass += 1;
            }
            *place = own.pop().expect("a share is not empty");
        }
    }
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
    use crate::recipe::Moments;

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

    /// Two ranks with seven and three images, in batches of four and shards of one.
    #[test]
    fn a_rank_deals_its_own_images() {
        let deal = |seed, epoch, rank: usize| {
            let own = [0..7, 7..10][rank].clone();
            let (fingerprint, moments) = (String::new(), Moments::default());
            let share = Share { rank, ranks: 2, own, images: 10, moments, fingerprint };
            let mut order = vec![];
            deal(seed, epoch, &share, [4, 1], &mut order);
            order
        };
        let places = |order: &[u32], wanted: [usize; 5]| wanted.map(|place| order[place]);
        for (seed, epoch) in [(1, 0), (1, 1), (2, 0)] {
            let mut first = places(&deal(seed, epoch, 0), [0, 1, 4, 5, 8]);
            first.sort_unstable();
            assert!(first.windows(2).all(|pair| pair[0] < pair[1]) && first[4] < 7, "{first:?}");
            let mut second = places(&deal(seed, epoch, 1), [2, 3, 6, 7, 9]);
            assert!(second.iter().all(|&image| (7..10).contains(&image)));
            second[..3].sort_unstable();
            assert_eq!(second[..3], [7, 8, 9]);
            assert_ne!(second[3], second[4]);
            assert_eq!(deal(seed, epoch, 1), deal(seed, epoch, 1));
        }
        assert_ne!(deal(1, 0, 0), deal(1, 1, 0));
        assert_ne!(deal(1, 0, 0), deal(2, 0, 0));
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
