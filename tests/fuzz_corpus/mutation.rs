//! Inputs changed by chance, as libFuzzer changes them, but the same at every run.

/// Inputs without an end, each one of the corpus with a few changes.
pub struct Mutations<'a> {
    corpus: &'a [Vec<u8>],
    random: Random,
    /// The most bytes of an input: twice the longest of the corpus.
    most: usize,
}

/// How many changes an input has at most.
const CHANGES: usize = 3;
/// The most bytes that a change adds or takes away; the cut at the end takes more.
const PIECE: usize = 64;
/// Numbers at which counts, shapes and settings go wrong.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1",
    "2",
    "255",
    "65536",
    "4294967296",
    "18446744073709551615",
    "0.5",
    "1e39",
    "nan",
    "-0.0",
];

impl<'a> Mutations<'a> {
    pub fn new(corpus: &'a [Vec<u8>], seed: u64) -> Mutations<'a> {
        let longest = corpus.iter().map(Vec::len).max().expect("a corpus");
        Mutations { corpus, random: Random(seed), most: 2 * longest }
    }

    /// One of the corpus.
    fn one(&mut self) -> &'a [u8] {
        &self.corpus[self.random.below(self.corpus.len())]
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.random.below(bytes.len() + 1);
        let end = (at + 1 + self.random.below(PIECE)).min(bytes.len());
        match self.random.below(10) {
            0 => self.set(bytes, at, |old, random| old ^ 1 << random.below(8)),
            1 => self.set(bytes, at, |_, random| random.next() as u8),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let piece: Vec<u8> = (at..end).map(|_| self.random.next() as u8).collect();
                bytes.splice(at..at, piece);
            }
            6 => self.write_extreme(bytes, at),
            7 => self.write_number(bytes, at),
            8 => {
                let other = self.one();
                let from = self.random.below(other.len() + 1);
                let to = (from + 1 + self.random.below(PIECE)).min(other.len());
                bytes.splice(at..end.max(at), other[from..to].iter().copied());
            }
            _ => self.add_line(bytes),
        }
    }

    /// Another byte in the place of that at `at`, if there is one.
    fn set(&mut self, bytes: &mut [u8], at: usize, new: impl Fn(u8, &mut Random) -> u8) {
        if let Some(byte) = bytes.get_mut(at) {
            *byte = new(*byte, &mut self.random);
        }
    }

    /// A number of one to eight bytes, at an end of its range or beside one.
    fn write_extreme(&mut self, bytes: &mut [u8], at: usize) {
        let size = 1 << self.random.below(4);
        let number = [0, 1, u64::MAX, u64::MAX >> 1, 1 << (8 * size - 1), 1 << (4 * size)];
        let number = number[self.random.below(number.len())];
        let little = self.random.below(2) == 0;
        let digits = if little { number.to_le_bytes() } else { number.to_be_bytes() };
        let digits = if little { &digits[..size] } else { &digits[8 - size..] };
        bytes.iter_mut().skip(at).zip(digits).for_each(|(byte, digit)| *byte = *digit);
    }

    /// Another number in the place of the next one that is written in digits.
    fn write_number(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
        let Some(from) = bytes[at..].iter().position(digit).map(|from| at + from) else { return };
        let len = bytes[from..].iter().take_while(|byte| digit(byte)).count();
        let number = NUMBERS[self.random.below(NUMBERS.len())];
        bytes.splice(from..from + len, number.bytes());
    }

    /// A line of another text, before a line of this one.
    fn add_line(&mut self, bytes: &mut Vec<u8>) {
        let lines: Vec<&[u8]> = self.one().split_inclusive(|byte| *byte == b'\n').collect();
        let line = lines.get(self.random.below(lines.len().max(1))).copied().unwrap_or_default();
        let ends =
            bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        let mut starts: Vec<usize> = ends.collect();
        starts.push(0);
        let at = starts[self.random.below(starts.len())];
        bytes.splice(at..at, line.iter().copied());
    }
}

impl Iterator for Mutations<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = self.one().to_vec();
        for _ in 0..=self.random.below(CHANGES) {
            self.change(&mut bytes);
        }
        bytes.truncate(self.most);
        Some(bytes)
    }
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    /// A number below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

#[test]
fn the_same_at_every_run() {
    let corpus = [b"kernel = 3\n".to_vec(), (0..=255).collect()];
    let inputs = |seed| Mutations::new(&corpus, seed).take(100).collect::<Vec<_>>();
    assert_eq!(inputs(1), inputs(1));
    assert_ne!(inputs(1), inputs(2));
    let changed = inputs(1).iter().filter(|bytes| !corpus.contains(bytes)).count();
    assert!(changed > 90, "{changed} of 100 are changed");
}
