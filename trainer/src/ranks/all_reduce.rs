//! The sum over a batch by all ranks, with the bits of one process.
//!
//! Every rank has the sums of its subtrees ([`Partition`]), the roots; then all reduce them together. A
//! message is
//!
//! ```text
//! | 1 if this rank asks for the end | root: gradient, loss, correct | next root … |
//! ```
//! and is sent by one of two algorithms, which give the same bits:
//!
//! - **whole**: each rank has every root (one `all_gather`) and finishes the tree. One exchange, but every
//!   rank receives as many gradients as there are roots: for small networks.
//! - **sliced**: each rank has a slice of every root (one `all_to_all`), finishes the tree there, and
//!   gives the sum to all (one `all_gather`). What a rank receives does not grow with the ranks: for large
//!   networks.

use super::Communicator;
use super::partition::{Partition, shards_of};
use crate::evaluation::{self, Outcomes};
use crate::partial::{BufferPool, PartialEvaluation, PartialGradient};
use autograd::Buffer;
use kernels::{Isa, add_assign};
use std::ops::Range;

/// Bytes that slices must spare each rank to be worth a second exchange.
const WORTH_SLICING: usize = 256 * 1024;

/// Floats before the roots of a message: whether its rank asks for the end.
const HEAD: usize = 1;

/// Floats behind each gradient: the bits of its loss and of its hits.
const TAIL: usize = 4;

/// The ranks as a trainer sees them, with the buffers of its messages.
pub(crate) struct Ranks<'a> {
    communicator: &'a dyn Communicator,
    isa: Isa,
    /// One for each number of shards that has been met: of full batches, of the last, of validations.
    partitions: Vec<Partition>,
    sent: Message,
    received: Message,
    /// Bytes of gradients that the others have sent.
    bytes: u64,
    /// Where in the received message the roots of all ranks are.
    places: Vec<usize>,
}

/// How gradients are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Whole,
    Sliced,
}

/// What a message of gradients holds besides them, summed over the roots.
#[derive(Clone, Copy)]
struct Totals {
    loss: f64,
    correct: usize,
    /// Whether any rank asks for the end: all ranks find the same.
    end: bool,
}

/// Floats, and how many bytes of them are of or for each rank.
#[derive(Default)]
struct Message {
    floats: Vec<f32>,
    counts: Vec<usize>,
}

impl Message {
    fn clear(&mut self) {
        self.floats.clear();
        self.counts.clear();
    }

    /// Adds what is for the next rank: this slice of each root.
    fn add(&mut self, ask_end: bool, roots: &[Option<PartialGradient>], slice: Range<usize>) {
        let before = self.floats.len();
        self.floats.push(f32::from(u8::from(ask_end)));
        for root in roots.iter().flatten() {
            self.floats.extend_from_slice(&root.gradients[slice.clone()]);
            self.floats.extend(tail(root.loss, root.correct));
        }
        self.counts.push(size_of::<f32>() * (self.floats.len() - before));
    }

    /// Makes room for as many floats from each rank.
    fn resize(&mut self, floats: impl Iterator<Item = usize>) {
        self.counts.clear();
        self.counts.extend(floats.map(|floats| size_of::<f32>() * floats));
        self.floats.resize(self.counts.iter().sum::<usize>() / size_of::<f32>(), 0.0);
    }

    fn bytes_of_others(&self, rank: usize) -> u64 {
        let others = self.counts.iter().enumerate().filter(|(other, _)| *other != rank);
        others.map(|(_, &count)| count as u64).sum()
    }

    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.floats)
    }
}

impl<'a> Ranks<'a> {
    #[must_use]
    pub fn new(communicator: &'a dyn Communicator, isa: Isa) -> Ranks<'a> {
        Ranks {
            communicator,
            isa,
            partitions: vec![],
            sent: Message::default(),
            received: Message::default(),
            bytes: 0,
            places: vec![],
        }
    }

    pub fn communicator(&self) -> &'a dyn Communicator {
        self.communicator
    }

    /// Bytes that the others have sent for gradients, as long as there is this.
    pub fn bytes_received(&self) -> u64 {
        self.bytes
    }

    /// Which of so many shards this rank sums: a range of them for each of its roots.
    pub fn subtrees(&mut self, shards: usize) -> &[Range<usize>] {
        let partition = self.find_partition(shards);
        self.partitions[partition].subtrees(self.communicator.rank())
    }

    /// The sums over all shards from every rank's roots, which are those of [`Ranks::subtrees`]; and
    /// whether any rank has asked for the end. All ranks have the same. Takes the roots.
    pub fn all_reduce(
        &mut self,
        shards: usize,
        roots: &mut Vec<Option<PartialGradient>>,
        len: usize,
        pool: &BufferPool,
        ask_end: bool,
    ) -> (PartialGradient, bool) {
        if self.communicator.size() == 1 {
            return (only(roots), ask_end);
        }
        let partition = self.find_partition(shards);
        let mut gradients = pool.take(len);
        let totals = self.reduce_sections(partition, roots, &mut gradients, ask_end);
        roots.drain(..).flatten().for_each(|root| pool.put(root.gradients));
        let Totals { loss, correct, end } = totals;
        (PartialGradient { gradients, loss, correct }, end)
    }

    /// The same of an evaluation.
    pub fn all_reduce_evaluation(
        &mut self,
        shards: usize,
        roots: &mut Vec<Option<PartialEvaluation>>,
    ) -> PartialEvaluation {
        type Words = [u64; PartialEvaluation::WORDS];
        if self.communicator.size() == 1 {
            return only(roots);
        }
        let partition = self.find_partition(shards);
        let Partition { roots: subtrees, own, joins, .. } = &self.partitions[partition];
        let sent: Vec<Words> = roots.drain(..).flatten().map(|root| root.to_words()).collect();
        let counts: Vec<usize> = own.iter().map(|own| size_of::<Words>() * own.len()).collect();
        let mut all: Vec<Words> = vec![Default::default(); subtrees.len()];
        let received = bytemuck::cast_slice_mut(&mut all);
        self.communicator.all_gather(bytemuck::cast_slice(&sent), &counts, received);
        let mut all: Vec<_> = all.into_iter().map(PartialEvaluation::from_words).collect();
        for &(a, b) in joins {
            all[a] = all[a].join(all[b]);
        }
        all[0]
    }

    /// What is said of each image of an evaluation, of which this rank knows those of its shards.
    pub fn all_gather_outcomes(&self, images: usize, outcomes: &mut Outcomes) {
        let (rank, size) = (self.communicator.rank(), self.communicator.size());
        if size == 1 {
            return;
        }
        let shards = evaluation::shards(images);
        let images_of = |rank: usize| {
            let own = shards_of(shards, rank, size);
            images.min(own.start * evaluation::SHARD)..images.min(own.end * evaluation::SHARD)
        };
        let words: Vec<u64> = outcomes.words_mut().map(|word| *word).collect();
        let own = images_of(rank);
        let width = outcomes.width();
        let sent = bytemuck::cast_slice(&words[width * own.start..width * own.end]);
        let counts: Vec<usize> =
            (0..size).map(|rank| width * size_of::<u64>() * images_of(rank).len()).collect();
        let mut all = vec![0u64; words.len()];
        self.communicator.all_gather(sent, &counts, bytemuck::cast_slice_mut(&mut all));
        outcomes.words_mut().zip(all).for_each(|(word, found)| *word = found);
    }

    /// The place of the partition of this many shards.
    fn find_partition(&mut self, shards: usize) -> usize {
        let known = self.partitions.iter().position(|partition| partition.shards == shards);
        known.unwrap_or_else(|| {
            self.partitions.push(Partition::new(shards, self.communicator.size()));
            self.partitions.len() - 1
        })
    }

    /// Sends this rank's roots, receives those of all, and finishes the tree: of one section of the
    /// network after another, as much as goes into a message.
    fn reduce_sections(
        &mut self,
        partition: usize,
        roots: &[Option<PartialGradient>],
        gradients: &mut Buffer,
        ask_end: bool,
    ) -> Totals {
        let len = gradients.len();
        let (all, size) = (self.partitions[partition].roots.len(), self.communicator.size());
        let algorithm = algorithm(len, all, size);
        let most = self.section(partition, algorithm);
        let mut start = 0;
        // At least one: a network without parameters has a loss too.
        loop {
            let section = start..len.min(start + most);
            start = section.end;
            let sums = &mut gradients[section.clone()];
            self.send(algorithm, roots, partition, section.clone(), ask_end);
            let (first, totals) = self.finish(partition, self.width(algorithm, section.len()));
            self.collect(algorithm, first, sums);
            if start == len {
                return totals;
            }
        }
    }

    /// Floats of a section that this rank sums.
    fn width(&self, algorithm: Algorithm, section: usize) -> usize {
        let (rank, size) = (self.communicator.rank(), self.communicator.size());
        match algorithm {
            Algorithm::Whole => section,
            Algorithm::Sliced => slice(section, rank, size).len(),
        }
    }

    /// How many floats of the network may be sent at once.
    fn section(&self, partition: usize, algorithm: Algorithm) -> usize {
        let Partition { roots, own, .. } = &self.partitions[partition];
        // How often they are in the largest message: what a rank gives is at least a slice of all roots.
        let times = match algorithm {
            Algorithm::Whole => roots.len(),
            Algorithm::Sliced => own.iter().map(Range::len).max().unwrap_or(1),
        };
        let floats = self.communicator.largest() / size_of::<f32>();
        let besides = own.len() * (HEAD + roots.len() * TAIL);
        (floats.saturating_sub(besides) / times).max(1)
    }

    /// Sends a section of this rank's roots, and receives that of all.
    fn send(
        &mut self,
        algorithm: Algorithm,
        roots: &[Option<PartialGradient>],
        partition: usize,
        section: Range<usize>,
        ask_end: bool,
    ) {
        let communicator = self.communicator;
        let (rank, size) = (communicator.rank(), communicator.size());
        let width = self.width(algorithm, section.len());
        let counts = self.partitions[partition].own.iter().map(Range::len);
        self.received.resize(counts.map(|roots| HEAD + roots * (width + TAIL)));
        self.sent.clear();
        self.bytes += self.received.bytes_of_others(rank);
        let Message { floats, counts } = &mut self.received;
        match algorithm {
            Algorithm::Whole => {
                self.sent.add(ask_end, roots, section);
                let all = bytemuck::cast_slice_mut(floats);
                communicator.all_gather(self.sent.bytes(), counts, all);
            }
            Algorithm::Sliced => {
                for to in 0..size {
                    let slice = slice(section.len(), to, size);
                    let slice = section.start + slice.start..section.start + slice.end;
                    self.sent.add(ask_end, roots, slice);
                }
                let (sent, all) = (self.sent.bytes(), bytemuck::cast_slice_mut(floats));
                communicator.all_to_all(sent, &self.sent.counts, all, counts);
            }
        }
    }

    /// Adds up the received roots; returns where the sum of the gradients is, with what else there was.
    fn finish(&mut self, partition: usize, width: usize) -> (usize, Totals) {
        let Partition { own, joins, .. } = &self.partitions[partition];
        let floats = &mut self.received.floats;
        self.places.clear();
        let mut end = false;
        let mut at = 0;
        for own in own {
            end |= floats[at] != 0.0;
            at += HEAD;
            for _ in own.clone() {
                self.places.push(at);
                at += width + TAIL;
            }
        }
        for &(a, b) in joins {
            let (left, right) = floats.split_at_mut(self.places[b]);
            let (a, b) = (&mut left[self.places[a]..][..width + TAIL], &right[..width + TAIL]);
            let (loss, correct) = from_tail(&a[width..]);
            let (more_loss, more_correct) = from_tail(&b[width..]);
            add_assign(self.isa, &mut a[..width], &b[..width]);
            a[width..].copy_from_slice(&tail(loss + more_loss, correct + more_correct));
        }
        let first = self.places[0];
        let (loss, correct) = from_tail(&floats[first + width..]);
        (first, Totals { loss, correct, end })
    }

    /// The sums of a section: those that this rank has found, which begin at `first` of the received
    /// message, or, where each has found a slice, those of all ranks.
    fn collect(&mut self, algorithm: Algorithm, first: usize, sums: &mut [f32]) {
        let (rank, size) = (self.communicator.rank(), self.communicator.size());
        let found = first..first + self.width(algorithm, sums.len());
        match algorithm {
            Algorithm::Whole => sums.copy_from_slice(&self.received.floats[found]),
            Algorithm::Sliced => {
                let slices = (0..size).map(|rank| slice(sums.len(), rank, size).len());
                self.received.counts.clear();
                self.received.counts.extend(slices.map(|len| size_of::<f32>() * len));
                self.bytes += self.received.bytes_of_others(rank);
                let Message { floats, counts } = &self.received;
                let (own, all) = (&floats[found], bytemuck::cast_slice_mut(sums));
                self.communicator.all_gather(bytemuck::cast_slice(own), counts, all);
            }
        }
    }
}

/// The only root: with one rank it is the whole sum.
fn only<T>(roots: &mut Vec<Option<T>>) -> T {
    roots.pop().flatten().expect("the whole tree is the only root")
}

/// How the gradients of a network of this length are sent, with as many roots on as many ranks.
fn algorithm(len: usize, roots: usize, size: usize) -> Algorithm {
    // Floats that a rank receives from the others: whole, as many gradients as they have roots; sliced,
    // a slice of each, and then their slices of the sum.
    let others = |floats: usize| floats / size * (size - 1);
    let (whole, sliced) = (others(len * roots), others(len * roots / size + len));
    match size_of::<f32>() * whole.saturating_sub(sliced) > WORTH_SLICING {
        true => Algorithm::Sliced,
        false => Algorithm::Whole,
    }
}

/// The slice of a section that a rank sums.
fn slice(len: usize, rank: usize, size: usize) -> Range<usize> {
    len * rank / size..len * (rank + 1) / size
}

fn tail(loss: f64, correct: usize) -> [f32; TAIL] {
    let halves = |bits: u64| [bits as u32, (bits >> 32) as u32].map(f32::from_bits);
    let ([a, b], [c, d]) = (halves(loss.to_bits()), halves(correct as u64));
    [a, b, c, d]
}

fn from_tail(tail: &[f32]) -> (f64, usize) {
    let word = |i: usize| u64::from(tail[i].to_bits()) | u64::from(tail[i + 1].to_bits()) << 32;
    (f64::from_bits(word(0)), word(2) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_networks_are_sent_in_slices_where_that_saves() {
        let lenet = 44_426;
        assert_eq!(algorithm(lenet, 2, 2), Algorithm::Whole);
        assert_eq!(algorithm(lenet, 8, 8), Algorithm::Sliced);
        // Two ranks of a root each: half a gradient, and then the other half, is no less.
        assert_eq!(algorithm(10_000_000, 2, 2), Algorithm::Whole);
        assert_eq!(algorithm(10_000_000, 4, 4), Algorithm::Sliced);
        assert_eq!(algorithm(1000, 16, 16), Algorithm::Whole);
    }

    #[test]
    fn a_tail_keeps_every_bit() {
        for (loss, correct) in [(-0.1, 0), (f64::NAN, 7), (f64::INFINITY, usize::MAX)] {
            let (found, hits) = from_tail(&tail(loss, correct));
            assert_eq!((found.to_bits(), hits), (loss.to_bits(), correct));
        }
    }
}
