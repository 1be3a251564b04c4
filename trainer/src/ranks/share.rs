//! Training images that are shared out: every rank has its own.

use super::{Communicator, gather_texts};
use crate::data::{Dataset, Share};
use crate::digest;
use crate::moments::{moments, pixel_sums};
use serde::{Deserialize, Serialize};

/// What the ranks tell each other of their images.
#[derive(Serialize, Deserialize)]
struct Own {
    images: u32,
    shape: [usize; 3],
    sums: Vec<(u64, u64)>,
    fingerprint: String,
    /// Of what all must have alike: test images and classes.
    common: String,
    classes: Vec<String>,
}

/// Makes one set of those that the ranks have: the training images are all of them together, test
/// images and classes must be the same.
///
/// An error, the same on all ranks, says which one does not fit.
pub fn join_shares(communicator: &dyn Communicator, data: &mut Dataset) -> Result<(), String> {
    let own = describe(data).map(|own| serde_json::to_string(&own).expect("plain values"));
    // An error is no JSON object.
    let all = gather_texts(communicator, own.as_ref().unwrap_or_else(|error| error));
    let parse = |(rank, text): (usize, &String)| {
        serde_json::from_str(text).map_err(|_| format!("rank {rank} of {}: {text}", all.len()))
    };
    let all: Vec<Own> = all.iter().enumerate().map(parse).collect::<Result<_, String>>()?;
    if let Some(rank) = all.iter().position(|own| own.shape != all[0].shape) {
        let (found, expected) = (all[rank].shape, all[0].shape);
        return Err(format!(
            "rank {rank}: images of {found:?}, those of rank 0 are of {expected:?}"
        ));
    }
    if let Some(rank) = all.iter().position(|own| own.common != all[0].common) {
        return Err(format!(
            "rank {rank}: its test images or classes ({}) are not those of rank 0 ({}): expected the \
             same labels.txt and test images on all ranks",
            all[rank].classes.join(", "),
            all[0].classes.join(", ")
        ));
    }
    let mut sums = vec![(0, 0); all[0].sums.len()];
    for (sum, own) in all.iter().flat_map(|own| (0..).zip(&own.sums)) {
        let sum: &mut (u64, u64) = &mut sums[sum];
        *sum = (sum.0 + own.0, sum.1 + own.1);
    }
    let numbers = |own: &Own| u64::from(own.images);
    let images: u64 = all.iter().map(numbers).sum();
    if images > u64::from(u32::MAX) {
        return Err(format!("{images} training images: expected at most {}", u32::MAX));
    }
    let rank = communicator.rank();
    let first = all[..rank].iter().map(|own| own.images).sum::<u32>();
    let fingerprint = digest::of_parts(all.iter().map(|own| own.fingerprint.as_bytes()));
    let [_, height, width] = all[0].shape;
    data.set_share(Share {
        rank,
        ranks: all.len(),
        own: first..first + all[rank].images,
        images: images as usize,
        moments: moments(&sums, height * width * images as usize),
        fingerprint,
    });
    Ok(())
}

fn describe(data: &Dataset) -> Result<Own, String> {
    let train = data.train().map_err(|error| error.to_string())?;
    let images: Vec<u32> = (0..train.len() as u32).collect();
    Ok(Own {
        images: train.len() as u32,
        shape: data.image_shape(),
        sums: pixel_sums(train, data.image_shape()[0], &images),
        fingerprint: data.fingerprint(),
        common: data.fingerprint_but_training(),
        classes: data.class_names().to_vec(),
    })
}
