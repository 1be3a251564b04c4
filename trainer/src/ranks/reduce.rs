//! The sum over a batch by all ranks, with the bits of one process.
//!
//! Every rank computes the sums of its subtrees ([`Plan`]); then all meet. A message is
//!
//! ```text
//! | 1 if this rank asks for the end | root: gradient, loss, correct | next root … |
//! ```
//! and is sent in one of two ways, which give the same bits:
//!
//! - **whole**: each rank has every root (one `gather`) and finishes the tree. One exchange, but every
//!   rank receives as many gradients as there are roots: for small networks.
//! - **sliced**: each rank has a slice of every root (one `exchange`), finishes the tree there, and
//!   gives the sum to all (one `gather`). What a rank receives does not grow with the ranks: for large
//!   networks.

use super::Communicator;
use super::tree::Plan;
use crate::batch::{Batch, Found, Spare, Sums};
use crate::profile::{Chore, timed};
use crate::workers::Workers;
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
    /// One for each number of shards that has been met: of full batches, and of the last.
    plans: Vec<Plan>,
    /// The sums of this rank's roots.
    roots: Vec<Option<Sums>>,
    sent: Message,
    received: Message,
    /// Bytes of gradients that the others have sent.
    bytes: u64,
    /// Where in the received message the roots of all ranks are.
    places: Vec<usize>,
    /// Whether this rank asks for the end.
    pub ask_end: bool,
    /// Whether any rank had asked for it when the last step was summed: all ranks answer alike.
    pub end_asked: bool,
}

/// How gradients are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Whole,
    Sliced,
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

    /// Adds what is for the next rank: this part of each root.
    fn add(&mut self, ask_end: bool, roots: &[Option<Sums>], part: Range<usize>) {
        let before = self.floats.len();
        self.floats.push(f32::from(u8::from(ask_end)));
        for root in roots.iter().flatten() {
            self.floats.extend_from_slice(&root.gradients[part.clone()]);
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
    pub fn new(communicator: &'a dyn Communicator) -> Ranks<'a> {
        Ranks {
            communicator,
            plans: vec![],
            roots: vec![],
            sent: Message::default(),
            received: Message::default(),
            bytes: 0,
            places: vec![],
            ask_end: false,
            end_asked: false,
        }
    }

    pub fn communicator(&self) -> &'a dyn Communicator {
        self.communicator
    }

    /// Bytes that the others have sent for gradients, as long as there is this.
    pub fn bytes_received(&self) -> u64 {
        self.bytes
    }

    /// The sums over a batch, the same on all ranks. To be called inside [`Workers::run`].
    pub fn gradient(&mut self, batch: &Batch<'_>, workers: &Workers, spare: &Spare) -> Sums {
        let (rank, size) = (self.communicator.rank(), self.communicator.size());
        let plan = self.plan(batch.shards());
        let own = &self.plans[plan].roots[self.plans[plan].own[rank].clone()];
        self.roots.resize_with(own.len(), || None);
        batch.gradients(workers, spare, own, &mut self.roots);
        if size == 1 {
            self.end_asked = self.ask_end;
            return self.roots.pop().flatten().expect("the whole tree is the only root");
        }
        timed(batch.chores, Chore::Ranks, || {
            let sums = self.meet(plan, workers.isa(), spare.take(batch.network.len()));
            self.roots.drain(..).flatten().for_each(|root| spare.put(root.gradients));
            sums
        })
    }

    /// What all ranks have found in the shards of an evaluation: `find` does this rank's ranges.
    pub fn evaluation(
        &self,
        shards: usize,
        find: impl FnOnce(&[Range<usize>], &mut [Option<Found>]),
        join: impl Fn(Found, Found) -> Found,
    ) -> Found {
        if self.communicator.size() == 1 {
            let mut found = [None];
            find(std::slice::from_ref(&(0..shards)), &mut found);
            return found[0].expect("the whole tree is the only root");
        }
        let Plan { roots, own, joins, .. } = Plan::new(shards, self.communicator.size());
        let mine = own[self.communicator.rank()].clone();
        let mut found = vec![None; mine.len()];
        find(&roots[mine], &mut found);
        let found: Vec<[u64; 3]> = found.into_iter().flatten().map(Found::to_words).collect();
        let mut all = vec![[0; 3]; roots.len()];
        let counts: Vec<usize> = own.iter().map(|own| size_of::<[u64; 3]>() * own.len()).collect();
        let bytes = bytemuck::cast_slice_mut(&mut all);
        self.communicator.gather(bytemuck::cast_slice(&found), &counts, bytes);
        for (a, b) in joins {
            all[a] = join(Found::from_words(all[a]), Found::from_words(all[b])).to_words();
        }
        Found::from_words(all[0])
    }

    /// The place of the plan for this many shards.
    fn plan(&mut self, shards: usize) -> usize {
        let known = self.plans.iter().position(|plan| plan.shards == shards);
        known.unwrap_or_else(|| {
            self.plans.push(Plan::new(shards, self.communicator.size()));
            self.plans.len() - 1
        })
    }

    /// Sends this rank's roots, receives those of all, and finishes the tree: of one section of the
    /// network after another, as much as goes into a message.
    fn meet(&mut self, plan: usize, isa: Isa, mut gradients: Buffer) -> Sums {
        let len = gradients.len();
        let way = way(len, self.plans[plan].roots.len(), self.communicator.size());
        let most = self.section(plan, way);
        let mut start = 0;
        // At least one: a network without parameters has a loss too.
        loop {
            let section = start..len.min(start + most);
            start = section.end;
            let sums = &mut gradients[section.clone()];
            let (loss, correct) = self.meet_section(plan, way, isa, section, sums);
            if start == len {
                return Sums { gradients, loss, correct };
            }
        }
    }

    /// How many floats of the network may be sent at once.
    fn section(&self, plan: usize, way: Way) -> usize {
        let Plan { roots, own, .. } = &self.plans[plan];
        // How often they are in the largest message: what a rank gives is at least a slice of all roots.
        let times = match way {
            Way::Whole => roots.len(),
            Way::Sliced => own.iter().map(Range::len).max().unwrap_or(1),
        };
        let floats = self.communicator.largest() / size_of::<f32>();
        let besides = own.len() * (HEAD + roots.len() * TAIL);
        (floats.saturating_sub(besides) / times).max(1)
    }

    /// [`Ranks::meet`] of a section; returns loss and hits.
    fn meet_section(
        &mut self,
        plan: usize,
        way: Way,
        isa: Isa,
        section: Range<usize>,
        sums: &mut [f32],
    ) -> (f64, usize) {
        let communicator = self.communicator;
        let (rank, size) = (communicator.rank(), communicator.size());
        let part = |rank| part(section.len(), rank, size);
        let place = |part: Range<usize>| section.start + part.start..section.start + part.end;
        let width = match way {
            Way::Whole => section.len(),
            Way::Sliced => part(rank).len(),
        };
        let roots = self.plans[plan].own.iter().map(Range::len);
        self.received.resize(roots.map(|roots| HEAD + roots * (width + TAIL)));
        self.sent.clear();
        self.bytes += self.received.bytes_of_others(rank);
        let Message { floats, counts } = &mut self.received;
        match way {
            Way::Whole => {
                self.sent.add(self.ask_end, &self.roots, section.clone());
                communicator.gather(self.sent.bytes(), counts, bytemuck::cast_slice_mut(floats));
            }
            Way::Sliced => {
                for to in 0..size {
                    self.sent.add(self.ask_end, &self.roots, place(part(to)));
                }
                let (sent, all) = (self.sent.bytes(), bytemuck::cast_slice_mut(floats));
                communicator.exchange(sent, &self.sent.counts, all, counts);
            }
        }
        let (first, loss, correct) = self.finish(plan, isa, width);
        let found = first..first + width;
        match way {
            Way::Whole => sums.copy_from_slice(&self.received.floats[found]),
            Way::Sliced => {
                self.received.counts.clear();
                let slices = (0..size).map(|rank| size_of::<f32>() * part(rank).len());
                self.received.counts.extend(slices);
                self.bytes += self.received.bytes_of_others(rank);
                let Message { floats, counts } = &self.received;
                let (own, all) = (&floats[found], bytemuck::cast_slice_mut(sums));
                communicator.gather(bytemuck::cast_slice(own), counts, all);
            }
        }
        (loss, correct)
    }

    /// Adds up the received roots; returns where the sum of the gradients is, with loss and hits.
    fn finish(&mut self, plan: usize, isa: Isa, width: usize) -> (usize, f64, usize) {
        let Plan { own, joins, .. } = &self.plans[plan];
        let floats = &mut self.received.floats;
        self.places.clear();
        self.end_asked = false;
        let mut at = 0;
        for own in own {
            self.end_asked |= floats[at] != 0.0;
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
            add_assign(isa, &mut a[..width], &b[..width]);
            a[width..].copy_from_slice(&tail(loss + more_loss, correct + more_correct));
        }
        let first = self.places[0];
        let (loss, correct) = from_tail(&floats[first + width..]);
        (first, loss, correct)
    }
}

/// How the gradients of a network of this length are sent, with as many roots on as many ranks.
fn way(len: usize, roots: usize, size: usize) -> Way {
    // Floats that a rank receives from the others: whole, as many gradients as they have roots; sliced,
    // a slice of each, and then their slices of the sum.
    let others = |floats: usize| floats / size * (size - 1);
    let (whole, sliced) = (others(len * roots), others(len * roots / size + len));
    match size_of::<f32>() * whole.saturating_sub(sliced) > WORTH_SLICING {
        true => Way::Sliced,
        false => Way::Whole,
    }
}

/// The part of a network that a rank sums.
fn part(len: usize, rank: usize, size: usize) -> Range<usize> {
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
        assert_eq!(way(lenet, 2, 2), Way::Whole);
        assert_eq!(way(lenet, 8, 8), Way::Sliced);
        // Two ranks of a root each: half a gradient, and then the other half, is no less.
        assert_eq!(way(10_000_000, 2, 2), Way::Whole);
        assert_eq!(way(10_000_000, 4, 4), Way::Sliced);
        assert_eq!(way(1000, 16, 16), Way::Whole);
    }

    #[test]
    fn a_tail_keeps_every_bit() {
        for (loss, correct) in [(-0.1, 0), (f64::NAN, 7), (f64::INFINITY, usize::MAX)] {
            let (found, hits) = from_tail(&tail(loss, correct));
            assert_eq!((found.to_bits(), hits), (loss.to_bits(), correct));
        }
    }
}
