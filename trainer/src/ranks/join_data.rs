//! Training images that are shared out: every rank has its own.

use super::{Communicator, all_gather_texts};
use dataset::{DataError, Dataset, Share, pixel_sums, statistics_of_sums};
use files::digest;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What the ranks tell each other of their images.
#[derive(Serialize, Deserialize)]
struct Own {
    labels: Vec<u32>,
    shape: [usize; 3],
    sums: Vec<(u64, u64)>,
    fingerprint: String,
    /// Of what all must have alike: test images and classes.
    common: String,
    classes: Vec<String>,
}

/// Why the images of the ranks make no set. All ranks have the same error.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartitionError {
    /// A rank cannot use its data.
    #[error("rank {rank} of {ranks}: {problem}")]
    Unusable {
        /// The rank.
        rank: usize,
        /// How many there are.
        ranks: usize,
        /// What it says of them.
        problem: String,
    },
    /// Images have another shape than those of rank 0.
    #[error("rank {rank}: images of {found:?}, those of rank 0 are of {expected:?}")]
    Shape {
        /// The rank.
        rank: usize,
        /// Channels, rows and columns of its images.
        found: [usize; 3],
        /// Those of rank 0.
        expected: [usize; 3],
    },
    /// Test images or classes are not those of rank 0.
    #[error(
        "rank {rank}: its test images or classes ({}) are not those of rank 0 ({}): expected the \
         same labels.txt and test images on all ranks",
        found.join(", "), expected.join(", ")
    )]
    Common {
        /// The rank.
        rank: usize,
        /// Its classes.
        found: Vec<String>,
        /// Those of rank 0.
        expected: Vec<String>,
    },
    /// More images than can be numbered.
    #[error("{images} training images: expected at most {}", u32::MAX)]
    TooMany {
        /// How many there are.
        images: u64,
    },
}

/// Makes one set of those that the ranks have: the training images are all of them together, test
/// images and classes must be the same.
///
/// An error, the same on all ranks, says which one does not fit.
pub fn join_partitions(
    communicator: &dyn Communicator,
    data: &mut Dataset,
) -> Result<(), PartitionError> {
    // What a rank cannot use, and why, is no JSON object.
    let own = describe(data).map(|own| serde_json::to_string(&own).expect("plain values"));
    let all = all_gather_texts(communicator, &own.unwrap_or_else(|error| error.to_string()));
    let ranks = all.len();
    let parse = |(rank, text): (usize, &String)| {
        let problem = |_| PartitionError::Unusable { rank, ranks, problem: text.clone() };
        serde_json::from_str(text).map_err(problem)
    };
    let all: Vec<Own> = all.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
    if let Some(rank) = all.iter().position(|own| own.shape != all[0].shape) {
        let (found, expected) = (all[rank].shape, all[0].shape);
        return Err(PartitionError::Shape { rank, found, expected });
    }
    if let Some(rank) = all.iter().position(|own| own.common != all[0].common) {
        let (found, expected) = (all[rank].classes.clone(), all[0].classes.clone());
        return Err(PartitionError::Common { rank, found, expected });
    }
    let mut sums = vec![(0, 0); all[0].sums.len()];
    for (sum, own) in all.iter().flat_map(|own| (0..).zip(&own.sums)) {
        let sum: &mut (u64, u64) = &mut sums[sum];
        *sum = (sum.0 + own.0, sum.1 + own.1);
    }
    let images: usize = all.iter().map(|own| own.labels.len()).sum();
    if u32::try_from(images).is_err() {
        return Err(PartitionError::TooMany { images: images as u64 });
    }
    let mut first = 0;
    let part = |own: &Own| {
        let part = first..first + own.labels.len() as u32;
        first = part.end;
        part
    };
    let parts = all.iter().map(part).collect();
    let fingerprint = digest::of_parts(all.iter().map(|own| own.fingerprint.as_bytes()));
    let [_, height, width] = all[0].shape;
    data.set_share(Share {
        rank: communicator.rank(),
        parts,
        labels: all.iter().flat_map(|own| &own.labels).copied().collect(),
        statistics: statistics_of_sums(&sums, height * width * images),
        fingerprint,
    });
    Ok(())
}

fn describe(data: &Dataset) -> Result<Own, DataError> {
    let train = data.train()?;
    let images: Vec<u32> = (0..train.len() as u32).collect();
    Ok(Own {
        labels: train.labels().to_vec(),
        shape: data.image_shape(),
        sums: pixel_sums(train, data.image_shape()[0], &images),
        fingerprint: data.fingerprint(),
        common: data.fingerprint_but_training(),
        classes: data.class_names().to_vec(),
    })
}
