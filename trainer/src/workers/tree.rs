//! The summation tree: leaves come in any order, joins are those of their numbers.

use super::lock;
use super::teams::Deal;
use std::ops::Range;
use std::sync::Mutex;

/// Sums that wait for the other side of their join, by their first shard: with the shard after their last.
pub(crate) struct Pending<T>(Vec<Option<(usize, T)>>);

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Pending(vec![])
    }
}

/// Ranges of shards, and what is known of their sums.
pub(super) struct Tree<'a, T> {
    ranges: &'a [Range<usize>],
    state: Mutex<(&'a mut [Option<T>], &'a mut Pending<T>)>,
}

impl<'a, T> Tree<'a, T> {
    /// # Panics
    /// If a range is empty.
    pub fn new(
        ranges: &'a [Range<usize>],
        sums: &'a mut [Option<T>],
        pending: &'a mut Pending<T>,
    ) -> Self {
        assert!(ranges.iter().all(|range| !range.is_empty()), "a tree has leaves");
        let last = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        pending.0.clear();
        pending.0.resize_with(last, || None);
        Tree { ranges, state: Mutex::new((sums, pending)) }
    }

    /// How many there are in all ranges.
    pub fn shards(&self) -> usize {
        self.ranges.iter().map(Range::len).sum()
    }

    /// The range and the shard that are number `number` of all ranges.
    pub fn shard(&self, mut number: usize) -> (usize, usize) {
        for (i, range) in self.ranges.iter().enumerate() {
            if number < range.len() {
                return (i, range.start + number);
            }
            number -= range.len();
        }
        unreachable!("a shard of a range")
    }

    /// Puts a leaf where it belongs, and joins what can be joined.
    pub fn put(&self, range: usize, shard: usize, mut value: T, join: &dyn Fn(T, T) -> T) {
        let root = &self.ranges[range];
        let mut node = shard..shard + 1;
        while node != *root {
            let parent = parent(root, &node);
            let middle = middle(&parent);
            let is_left = node.start == parent.start;
            let sibling = if is_left { middle..parent.end } else { parent.start..middle };
            let found = {
                let mut state = lock(&self.state);
                let pending = &mut state.1.0;
                match &pending[sibling.start] {
                    Some((end, _)) if *end == sibling.end => pending[sibling.start].take(),
                    _ => {
                        pending[node.start] = Some((node.end, value));
                        return;
                    }
                }
            };
            let (_, other) = found.expect("it was there");
            value = if is_left { join(value, other) } else { join(other, value) };
            node = parent;
        }
        lock(&self.state).0[range] = Some(value);
    }
}

/// Where the tree splits a range of two shards or more: at the largest power of two below its length.
pub(crate) fn middle(shards: &Range<usize>) -> usize {
    shards.start + shards.len().next_power_of_two() / 2
}

/// The node above another.
fn parent(root: &Range<usize>, node: &Range<usize>) -> Range<usize> {
    let mut above = root.clone();
    loop {
        let middle = middle(&above);
        let below = if node.start < middle { above.start..middle } else { middle..above.end };
        if below == *node {
            return above;
        }
        above = below;
    }
}

/// The most sums that there are at a time, those of leaves under way counted, whichever threads are
/// fast: of each queue of so many, those that its finished shards leave, at most.
pub(crate) fn rooms(ranges: &[Range<usize>], queues: usize) -> usize {
    let shards = ranges.iter().map(Range::len).sum();
    let deal = Deal::new(shards, queues, queues);
    let of_queue = |queue: usize| {
        let jobs = deal.of_queue(queue);
        let waiting = |done: usize| {
            let mut first = 0;
            let of_range = |range: &Range<usize>| {
                let bound = |n: usize| range.start + n.clamp(first, first + range.len()) - first;
                let own = bound(jobs.start)..bound(jobs.start + done);
                first += range.len();
                nodes(range, &own)
            };
            ranges.iter().map(of_range).sum::<usize>()
        };
        (0..jobs.len()).map(waiting).max().unwrap_or(0) + 1
    };
    (0..deal.queues).map(of_queue).sum()
}

/// How many nodes of a tree cover some of its leaves.
fn nodes(node: &Range<usize>, leaves: &Range<usize>) -> usize {
    if leaves.start >= leaves.end || leaves.end <= node.start || node.end <= leaves.start {
        return 0;
    }
    if leaves.start <= node.start && node.end <= leaves.end {
        return 1;
    }
    let middle = middle(node);
    nodes(&(node.start..middle), leaves) + nodes(&(middle..node.end), leaves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_those_of_the_worst_order() {
        let rooms = |shards: usize, threads| rooms(std::slice::from_ref(&(0..shards)), threads);
        assert_eq!([rooms(1, 1), rooms(1, 4), rooms(2, 1), rooms(2, 2)], [1, 1, 2, 2]);
        assert_eq!([rooms(8, 1), rooms(8, 2), rooms(8, 8)], [4, 6, 8]);
    }
}
