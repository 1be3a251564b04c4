//! Which images are to train on, and which to test on.

use crate::sources::{Item, Part};
use autograd::{Philox, Purpose};
use trainer::permute;

/// What the words of the generator [`Purpose::Split`] are for, beside the images that are held out
/// for validation.
const SPLIT: u32 = 1;
const ORDER: u32 = 2;

/// The numbers of the images of each part, in random order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub train: Vec<u32>,
    pub test: Vec<u32>,
    /// Whether the source said which images are to test on.
    pub came_split: bool,
    /// How many images to validate on are among those to train on.
    pub validation: usize,
}

/// The parts that the source says; else of each class the same fraction is for testing. `classes` has that of each
/// item.
///
/// A data set has two parts. Images to validate on are to test on where there are no others, and else to
/// train on: training holds out some of these by itself.
pub(crate) fn parts(items: &[&Item], classes: &[u32], test_fraction: f64, seed: u64) -> Parts {
    let philox = Philox::new(seed, Purpose::Split);
    let count = |part| items.iter().filter(|item| item.part == Some(part)).count();
    let (tests, validation) = (count(Part::Test), count(Part::Validation));
    let of_test = match (tests, validation) {
        (0, 0) => None,
        (0, _) => Some(Part::Validation),
        _ => Some(Part::Test),
    };
    let (mut train, mut test) = match of_test {
        Some(part) => (0..items.len() as u32).partition(|&i| items[i as usize].part != Some(part)),
        None => split(classes, test_fraction, &philox),
    };
    for (part, images) in [&mut train, &mut test].into_iter().enumerate() {
        images.sort_unstable();
        permute(images, |group| philox.words([group, part as u32, ORDER, 0]));
    }
    let validation = if of_test == Some(Part::Test) { validation } else { 0 };
    Parts { train, test, came_split: of_test.is_some(), validation }
}

/// Of each class the same part is for testing, rounded, but one of two pictures at least and never all.
fn split(classes: &[u32], test_fraction: f64, philox: &Philox) -> (Vec<u32>, Vec<u32>) {
    let highest = classes.iter().max().map_or(0, |&class| class as usize);
    let mut of_class = vec![vec![]; highest + 1];
    for (i, class) in classes.iter().enumerate() {
        of_class[*class as usize].push(i as u32);
    }
    let (mut train, mut test) = (vec![], vec![]);
    for (class, mut images) in
        of_class.into_iter().enumerate().filter(|(_, images)| !images.is_empty())
    {
        permute(&mut images, |group| philox.words([group, class as u32, SPLIT, 0]));
        let wanted = (images.len() as f64 * test_fraction).round() as usize;
        let least = usize::from(test_fraction > 0.0);
        let tests = wanted.max(least).min(images.len() - 1);
        train.extend(images.split_off(tests));
        test.extend(images);
    }
    (train, test)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Place;

    fn of(parts: &[Option<Part>]) -> Parts {
        let place = Place::Block { block: 0, index: 0 };
        let item = |(i, &part): (usize, &Option<Part>)| Item {
            class: i as u32 % 2,
            part,
            place: place.clone(),
        };
        let items: Vec<Item> = parts.iter().enumerate().map(item).collect();
        let classes: Vec<u32> = items.iter().map(|item| item.class).collect();
        let mut parts = super::parts(&items.iter().collect::<Vec<_>>(), &classes, 0.25, 1);
        parts.train.sort_unstable();
        parts.test.sort_unstable();
        parts
    }

    #[test]
    fn what_the_source_says_is_kept() {
        let [train, validation, test] = [Part::Train, Part::Validation, Part::Test].map(Some);
        let found = of(&[train, test, validation, train]);
        assert_eq!((found.train, found.test), (vec![0, 2, 3], vec![1]));
        assert!(found.came_split && found.validation == 1);
        let found = of(&[train, validation, train]);
        assert_eq!((found.train, found.test), (vec![0, 2], vec![1]));
        assert!(found.came_split && found.validation == 0);
    }

    #[test]
    fn else_each_class_is_split() {
        for part in [None, Some(Part::Train)] {
            let found = of(&[part; 16]);
            assert_eq!((found.train.len(), found.test.len(), found.came_split), (12, 4, false));
            assert_eq!(found.test.iter().filter(|&i| i % 2 == 0).count(), 2);
        }
    }
}
