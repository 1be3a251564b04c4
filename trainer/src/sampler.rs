//! Which images a batch holds.

use crate::ranks::shards_of;
use autograd::{Philox, Purpose, below};
use dataset::Share;
use std::ops::Range;

/// The images of an epoch in their order: a permutation that is a function of seed and epoch.
pub(crate) fn shuffle(seed: u64, epoch: u32, images: &mut [u32]) {
    let philox = Philox::new(seed, Purpose::Shuffle);
    permute(images, |group| philox.words([epoch, group, 0, 0]));
}

/// The order of an epoch where each rank holds a share of the images. Where a batch has a rank's shards,
/// there are its own images: shuffled by (seed, epoch, rank), and shuffled anew when they are used up
/// before the epoch is. Where those of other ranks than these are is an own image, at which nobody looks.
pub(crate) fn deal(
    (seed, epoch): (u64, u32),
    share: &Share,
    ranks: Range<usize>,
    sizes: [usize; 2],
    order: &mut Vec<u32>,
) {
    order.clear();
    order.resize(share.images(), share.own().start);
    ranks.for_each(|rank| deal_own((seed, epoch), share, rank, sizes, order));
}

/// Puts the images of a rank where batches have its shards.
fn deal_own(
    (seed, epoch): (u64, u32),
    share: &Share,
    rank: usize,
    [batch, shard]: [usize; 2],
    order: &mut [u32],
) {
    let philox = Philox::new(seed, Purpose::Shuffle);
    let mut own: Vec<u32> = vec![];
    let mut pass = 0;
    for batch in order.chunks_mut(batch) {
        let shards = shards_of(batch.len().div_ceil(shard), rank, share.ranks());
        let end = batch.len().min(shards.end * shard);
        for place in &mut batch[end.min(shards.start * shard)..end] {
            if own.is_empty() {
                own.extend(share.parts[rank].clone());
                permute(&mut own, |group| philox.words([epoch, group, 1 + rank as u32, pass]));
                pass += 1;
            }
            *place = own.pop().expect("a share is not empty");
        }
    }
}

/// As many images of each class, and as many as there are in all, to be shuffled: each class has as many places, but
/// for a remainder that goes to classes by chance, and its images fill them one pass after another, each in an
/// order of its own. A function of seed and epoch. No class is empty.
pub(crate) fn balance(seed: u64, epoch: u32, classes: &[Vec<u32>], order: &mut Vec<u32>) {
    /// In the third word: what a share of a rank never has there.
    const BALANCE: u32 = 1 << 31;
    let philox = Philox::new(seed, Purpose::Shuffle);
    let images: usize = classes.iter().map(Vec::len).sum();
    let (each, rest) = (images / classes.len(), images % classes.len());
    let [first, ..] = philox.words([epoch, 0, BALANCE, 0]);
    let first = below(first, classes.len() as u32) as usize;
    order.clear();
    order.reserve(images + classes.iter().map(Vec::len).max().unwrap_or(0));
    for (class, own) in classes.iter().enumerate() {
        let has_more = (class + classes.len() - first) % classes.len() < rest;
        let end = order.len() + each + usize::from(has_more);
        let mut pass = 1;
        while order.len() < end {
            let start = order.len();
            order.extend(own);
            let words = |group| philox.words([epoch, group, BALANCE | class as u32, pass]);
            permute(&mut order[start..], words);
            pass += 1;
        }
        order.truncate(end);
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

/// The same, stratified: each class gives the same fraction of its images, rounded down; what is missing comes one each
/// from the classes that lost most by rounding. Where it can be, a class keeps an image to train on.
pub(crate) fn hold_out_of_each(seed: u64, labels: &[u32], held_out: usize) -> (Vec<u32>, Vec<u32>) {
    let images = labels.len();
    // In the order in which they would be held out without classes: the last first.
    let philox = Philox::new(seed, Purpose::Split);
    let mut all: Vec<u32> = (0..images as u32).collect();
    permute(&mut all, |group| philox.words([group, 0, 0, 0]));
    let classes = labels.iter().max().map_or(0, |&highest| highest as usize + 1);
    let mut of_class = vec![vec![]; classes];
    all.iter().rev().for_each(|&image| of_class[labels[image as usize] as usize].push(image));
    let product = |class: &Vec<u32>| class.len() as u128 * held_out as u128;
    let mut quotas: Vec<usize> =
        of_class.iter().map(|class| (product(class) / images as u128) as usize).collect();
    let mut by_loss: Vec<usize> = (0..classes).collect();
    by_loss.sort_by_key(|&c| std::cmp::Reverse(product(&of_class[c]) % images as u128));
    let mut left = held_out - quotas.iter().sum::<usize>();
    for kept in [1, 0] {
        let mut before = usize::MAX;
        while left > 0 && left < before {
            before = left;
            for &c in &by_loss {
                let room = left > 0 && quotas[c] + kept < of_class[c].len();
                quotas[c] += usize::from(room);
                left -= usize::from(room);
            }
        }
    }
    let (mut training, mut validation) = (vec![], vec![]);
    for (class, quota) in of_class.iter().zip(quotas) {
        validation.extend(&class[..quota]);
        training.extend(&class[quota..]);
    }
    training.sort_unstable();
    validation.sort_unstable();
    (training, validation)
}

/// Images of a set of labels at least that makes it a class to divide by.
const COMMON: usize = 10;

/// Sets of labels as classes to divide images by: the sets of few images are one class together, of which there would
/// be nothing to divide.
pub fn pool_rare(sets: &[u32]) -> Vec<u32> {
    let highest = sets.iter().max().copied().unwrap_or(0);
    let mut counts = vec![0; highest as usize + 1];
    sets.iter().for_each(|&set| counts[set as usize] += 1);
    let class = |&set: &u32| if counts[set as usize] < COMMON { highest + 1 } else { set };
    sets.iter().map(class).collect()
}

/// The shuffle of Fisher and Yates; position `i` takes word `i mod 4` of group ⌊i / 4⌋.
pub fn permute(items: &mut [u32], words: impl Fn(u32) -> [u32; 4]) {
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
    use dataset::PixelStatistics;

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
        let share = |rank| {
            let (fingerprint, statistics) = (String::new(), PixelStatistics::default());
            let (parts, labels) = (vec![0..7, 7..10], vec![0; 10]);
            Share { rank, parts, labels, statistics, fingerprint }
        };
        let deal_to = |seed, epoch, rank, ranks| {
            let mut order = vec![];
            deal((seed, epoch), &share(rank), ranks, [4, 1], &mut order);
            order
        };
        let deal = |seed, epoch, rank| deal_to(seed, epoch, rank, rank..rank + 1);
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
        // Whoever needs to know what others have finds the same.
        let all = deal_to(1, 0, 0, 0..2);
        assert_eq!(all, deal_to(1, 0, 1, 0..2));
        let own = [deal(1, 0, 0), deal(1, 0, 1)];
        for place in 0..10 {
            let rank = usize::from([2, 3, 6, 7, 9].contains(&place));
            assert_eq!(all[place], own[rank][place]);
        }
        assert_ne!(deal(1, 0, 0), deal(1, 1, 0));
        assert_ne!(deal(1, 0, 0), deal(2, 0, 0));
    }

    /// Three classes, of 1, 9 and 30 images: 13 or 14 places each.
    #[test]
    fn balanced_epochs_have_as_many_of_each_class() {
        let images: Vec<u32> = (10..50).collect();
        let ranges = [10..11, 11..20, 20..50];
        let class = |image: u32| ranges.iter().position(|range| range.contains(&image));
        let classes = ranges.clone().map(|range| range.collect::<Vec<u32>>());
        let balanced = |seed, epoch| {
            let mut order = vec![];
            balance(seed, epoch, &classes, &mut order);
            order
        };
        let mut remainders = std::collections::HashSet::new();
        let mut seen = std::collections::HashSet::new();
        for epoch in 0..20 {
            let order = balanced(3, epoch);
            assert_eq!(order.len(), images.len());
            let mut counts = [0; 3];
            let mut times = [0; 50];
            for &image in &order {
                counts[class(image).unwrap()] += 1;
                times[image as usize] += 1;
            }
            assert!(counts.iter().all(|n| [13, 14].contains(n)), "{counts:?}");
            // No image is taken again before all of its class have been.
            assert!(times[11..20].iter().all(|n| [1, 2].contains(n)), "{times:?}");
            assert!(times[20..50].iter().all(|n| [0, 1].contains(n)), "{times:?}");
            remainders.insert(counts);
            seen.extend(order);
        }
        assert_eq!((remainders.len(), seen.len()), (3, 40));
        assert_eq!(balanced(3, 1), balanced(3, 1));
        assert_ne!(balanced(3, 1), balanced(3, 2));
        assert_ne!(balanced(3, 1), balanced(4, 1));
    }

    #[test]
    fn held_out_images_are_not_trained_on() {
        let (train, validation) = hold_out(3, 100, 30);
        assert_eq!((train.len(), validation.len()), (70, 30));
        assert!(validation.iter().all(|i| !train.contains(i)));
    }

    #[test]
    fn each_class_is_held_out_in_proportion() {
        // 1000, 100, 10, 2 and 1 images of five classes, and none of class 3.
        let labels: Vec<u32> = [(0, 1000), (1, 100), (2, 10), (4, 2), (5, 1)]
            .into_iter()
            .flat_map(|(class, count)| std::iter::repeat_n(class, count))
            .collect();
        let counts = |images: &[u32]| {
            let mut counts = [0; 6];
            images.iter().for_each(|&image| counts[labels[image as usize] as usize] += 1);
            counts
        };
        for seed in 0..20 {
            let (training, validation) = hold_out_of_each(seed, &labels, 222);
            assert_eq!(counts(&validation), [200, 20, 2, 0, 0, 0], "seed {seed}");
            assert!(validation.iter().all(|image| training.binary_search(image).is_err()));
            assert_eq!(training.len() + validation.len(), labels.len());
        }
        assert_ne!(hold_out_of_each(1, &labels, 222), hold_out_of_each(2, &labels, 222));
        // However many: every class has an image to train on as long as that can be.
        for held_out in 1..labels.len() {
            let (training, validation) = hold_out_of_each(7, &labels, held_out);
            assert_eq!([training.len(), validation.len()], [labels.len() - held_out, held_out]);
            let classes = counts(&training).iter().filter(|&&count| count > 0).count();
            assert_eq!(classes, training.len().min(5), "{held_out}");
        }
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
