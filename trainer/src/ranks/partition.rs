//! Which part of a sum a rank computes.
//!
//! The sum over the shards of a batch is a binary tree ([`Workers::sum`](crate::Workers::sum)). A rank
//! owns a contiguous partition of the shards, and computes the sums of the largest subtrees that lie in
//! it: their roots. All ranks' roots together, joined in the tree's order, are the whole sum with the
//! bits of one process. Three ranks and eight shards:
//!
//! ```text
//!                ┌───────┴───────┐
//!            ┌───┴───┐       ┌───┴───┐
//!         (0 + 1)  2   3     4    5  (6 + 7)
//!         └ rank 0 ┘   └ rank 1 ┘  └ rank 2 ┘      roots: 0–1 | 2–3, 4 | 5, 6–7
//! ```
//! (with the partitions that [`shards_of`] gives: two, three and three shards).

use crate::workers::middle;
use std::ops::Range;

/// How the sum over so many shards is divided. It depends on their number and on the ranks' alone.
pub(super) struct Partition {
    pub shards: usize,
    /// The shards of every root, in order.
    pub roots: Vec<Range<usize>>,
    /// Of each rank: which of the roots are its own.
    pub own: Vec<Range<usize>>,
    /// Pairs of roots: in this order the second is added to the first, and root 0 is the whole sum.
    pub joins: Vec<(usize, usize)>,
}

impl Partition {
    #[must_use]
    pub fn new(shards: usize, size: usize) -> Partition {
        let mut partition = Partition { shards, roots: vec![], own: vec![], joins: vec![] };
        for rank in 0..size {
            let first = partition.roots.len();
            add_roots(0..shards, &shards_of(shards, rank, size), &mut partition.roots);
            partition.own.push(first..partition.roots.len());
        }
        add_joins(0..shards, &partition.roots, &mut 0, &mut partition.joins);
        partition
    }

    /// The shards of each root of a rank.
    pub fn subtrees(&self, rank: usize) -> &[Range<usize>] {
        &self.roots[self.own[rank].clone()]
    }
}

/// The shards of a rank: as many as of any other, or one less.
pub(crate) fn shards_of(shards: usize, rank: usize, size: usize) -> Range<usize> {
    shards * rank / size..shards * (rank + 1) / size
}

/// Adds the largest subtrees of `node` that lie in a partition.
fn add_roots(node: Range<usize>, partition: &Range<usize>, roots: &mut Vec<Range<usize>>) {
    if node.end <= partition.start || partition.end <= node.start {
        return;
    }
    if partition.start <= node.start && node.end <= partition.end {
        roots.push(node);
        return;
    }
    let middle = middle(&node);
    add_roots(node.start..middle, partition, roots);
    add_roots(middle..node.end, partition, roots);
}

/// Adds what joins the roots of `node`, of which `next` is the first; returns where its sum will be.
fn add_joins(
    node: Range<usize>,
    roots: &[Range<usize>],
    next: &mut usize,
    joins: &mut Vec<(usize, usize)>,
) -> usize {
    if roots[*next] == node {
        *next += 1;
        return *next - 1;
    }
    let middle = middle(&node);
    let left = add_joins(node.start..middle, roots, next, joins);
    let right = add_joins(middle..node.end, roots, next, joins);
    joins.push((left, right));
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::Workers;
    use kernels::Isa;

    /// Sums written as text have the brackets of the one process's tree.
    #[test]
    fn ranks_finish_the_tree_of_one_process() {
        let workers = Workers::new(Isa::detect(), 1).unwrap();
        let tree = |shards: Range<usize>| {
            workers.sum(shards, &|i, _| i.to_string(), &|a, b| format!("({a} {b})"))
        };
        for shards in 1..=70 {
            let whole = tree(0..shards);
            for size in 1..=9 {
                let partition = Partition::new(shards, size);
                let mut sums: Vec<String> = partition.roots.iter().cloned().map(tree).collect();
                for &(a, b) in &partition.joins {
                    sums[a] = format!("({} {})", sums[a], sums[b]);
                }
                assert_eq!(sums[0], whole, "{shards} shards, {size} ranks");
            }
        }
    }

    #[test]
    fn partitions_are_contiguous_and_balanced() {
        for shards in 1..=70 {
            for size in 1..=9 {
                let partition = Partition::new(shards, size);
                let mut next = 0;
                for own in &partition.own {
                    let roots = &partition.roots[own.clone()];
                    let count: usize = roots.iter().map(Range::len).sum();
                    assert!((shards / size..=shards.div_ceil(size)).contains(&count));
                    for root in roots {
                        assert_eq!(root.start, next);
                        next = root.end;
                    }
                }
                assert_eq!(next, shards);
            }
        }
        let roots = Partition::new(8, 3).roots;
        assert_eq!(roots, [0..2, 2..4, 4..5, 5..6, 6..8]);
    }
}
