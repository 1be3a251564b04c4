//! Words among ranks: what each has to say, what rank 0 decides, and whether all do the same work.

use super::Communicator;
use crate::recipe::Recipe;
use kernels::Isa;
use serde::{Deserialize, Serialize};
use std::fs;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

/// Fields of a recipe that may differ: the data are compared themselves, and the weights to start from
/// are those of rank 0.
const OF_EACH_RANK: [&str; 2] = ["data.directory", "model.weights"];

/// What each rank says, in order of the ranks.
pub fn all_gather_texts(communicator: &dyn Communicator, own: &str) -> Vec<String> {
    let size = communicator.size();
    let mut lengths = vec![[0; 8]; size];
    let own_length = (own.len() as u64).to_le_bytes();
    communicator.all_gather(&own_length, &vec![8; size], lengths.as_flattened_mut());
    let lengths: Vec<usize> = lengths.into_iter().map(|n| u64::from_le_bytes(n) as usize).collect();
    let mut all = vec![0; lengths.iter().sum()];
    communicator.all_gather(own.as_bytes(), &lengths, &mut all);
    let mut rest = &all[..];
    let text = |&length: &usize| {
        let (text, after) = rest.split_at(length);
        rest = after;
        String::from_utf8_lossy(text).into_owned()
    };
    lengths.iter().map(text).collect()
}

/// What rank 0 says; the others say nothing.
pub fn broadcast_text(communicator: &dyn Communicator, own: &str) -> String {
    let own = if communicator.rank() == 0 { own } else { "" };
    all_gather_texts(communicator, own).swap_remove(0)
}

/// What rank 0 gives; what the others give counts for nothing.
pub fn broadcast_bytes(communicator: &dyn Communicator, own: Vec<u8>) -> Vec<u8> {
    let (rank, size) = (communicator.rank(), communicator.size());
    if size == 1 {
        return own;
    }
    let from_first = |own: &[u8], all: &mut [u8]| {
        let mut counts = vec![0; size];
        counts[0] = all.len();
        communicator.all_gather(if rank == 0 { own } else { &[] }, &counts, all);
    };
    let mut length = [0; 8];
    from_first(&(own.len() as u64).to_le_bytes(), &mut length);
    let mut all = vec![0; u64::from_le_bytes(length) as usize];
    let mut sent = 0;
    for part in all.chunks_mut(communicator.largest()) {
        let end = sent + part.len();
        from_first(own.get(sent..end).unwrap_or_default(), part);
        sent = end;
    }
    all
}

/// Gives all ranks the values of rank 0.
pub(crate) fn broadcast(communicator: &dyn Communicator, values: &mut [f32]) {
    let (rank, size) = (communicator.rank(), communicator.size());
    if size == 1 {
        return;
    }
    for values in values.chunks_mut(communicator.largest() / size_of::<f32>()) {
        let own = if rank == 0 { values.to_vec() } else { vec![] };
        let mut counts = vec![0; size];
        counts[0] = size_of_val(values);
        let all = bytemuck::cast_slice_mut(values);
        communicator.all_gather(bytemuck::cast_slice(&own), &counts, all);
    }
}

/// How many threads a rank has by default: its processors, divided among the ranks of its machine that
/// have the same ones.
pub fn threads_per_rank(communicator: &dyn Communicator) -> usize {
    let own = available_parallelism().map_or(1, NonZeroUsize::get);
    if communicator.size() == 1 {
        return own;
    }
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let status = read("/proc/self/status");
    let allowed = status.lines().find(|line| line.starts_with("Cpus_allowed_list:"));
    let place = read("/proc/sys/kernel/random/boot_id") + allowed.unwrap_or_default();
    let places = all_gather_texts(communicator, &place);
    let sharing = places.iter().filter(|other| **other == place).count();
    (own / sharing).max(1)
}

/// All that the weights depend on, as a rank has it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Identity {
    version: String,
    arithmetic: String,
    recipe: String,
    data: String,
}

impl Identity {
    #[must_use]
    pub fn new(isa: Isa, recipe: &Recipe, data: &str) -> Identity {
        // AVX2 and AVX-512 give the same bits; the portable path does not, nor does it everywhere.
        let arithmetic = match isa.to_string() {
            name if name == "portable" => format!("portable, on {}", std::env::consts::ARCH),
            _ => "AVX2 or AVX-512".to_owned(),
        };
        Identity {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            arithmetic,
            recipe: recipe.to_toml(),
            data: data.to_owned(),
        }
    }

    /// In what the ranks differ, if they do.
    pub fn differences(&self, communicator: &dyn Communicator) -> Option<String> {
        let own = serde_json::to_string(self).expect("plain values");
        let all = all_gather_texts(communicator, &own);
        let first = Identity::parse(&all[0]);
        let differs = |(rank, other): (usize, &String)| {
            let problem = match (Identity::parse(other), &first) {
                (Some(other), Some(first)) => first.difference(&other)?,
                _ if *other == all[0] => return None,
                _ => "it is another version of the program".to_owned(),
            };
            Some(format!("rank {rank} of {}: {problem}", all.len()))
        };
        let differences: Vec<String> = all.iter().enumerate().filter_map(differs).collect();
        (!differences.is_empty()).then(|| differences.join("; "))
    }

    fn parse(text: &str) -> Option<Identity> {
        serde_json::from_str(text).ok()
    }

    fn difference(&self, other: &Identity) -> Option<String> {
        let unlike = |what: &str, here: &str, there: &str| {
            (here != there).then(|| format!("{what} {there}, that of rank 0 {here}"))
        };
        unlike("its version is", &self.version, &other.version)
            .or_else(|| self.recipe_difference(other))
            .or_else(|| {
                let data = "its data are not those of rank 0: images, labels or classes differ";
                (self.data != other.data).then(|| data.to_owned())
            })
            .or_else(|| unlike("its SIMD path is", &self.arithmetic, &other.arithmetic))
    }

    fn recipe_difference(&self, other: &Identity) -> Option<String> {
        let parse = |text: &str| Recipe::parse("recipe", text, &[]).ok();
        match (parse(&self.recipe), parse(&other.recipe)) {
            (Some(here), Some(there)) => {
                let (field, here, there) = here.difference(&there, &OF_EACH_RANK)?;
                Some(format!("`{field}` of its recipe is {there}, that of rank 0 {here}"))
            }
            _ => (self.recipe != other.recipe).then(|| "its recipe is another".to_owned()),
        }
    }
}
