//! A picture made into what a network was trained on, and what had to be done for it.

use crate::Picture;
use crate::fit::{has_colour, invert, is_dark_on_light};
use model::{Fit, Model};

/// Whether bright and dark change places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inversion {
    /// If the network takes grey images and the picture shows something dark on a bright ground: the
    /// border's median is brighter than half, and than the mean of what it encloses.
    #[default]
    Auto,
    /// Always.
    Yes,
    /// Never.
    No,
}

impl Inversion {
    /// What is right for a model: as the pictures were inverted, or not, that it was trained on, where its
    /// file says so ([`Model::preparation`]).
    ///
    /// Where nothing is known it is a guess: [`Inversion::Auto`] if the images are dark on average (those of
    /// Fashion-MNIST are bright on black) or nothing is known of them, as [`Model::mean`] is a half.
    #[must_use]
    pub fn of(model: &Model) -> Inversion {
        match model.preparation {
            Some(preparation) if preparation.invert => Inversion::Yes,
            Some(_) => Inversion::No,
            None if model.mean.iter().all(|&mean| mean <= 0.5) => Inversion::Auto,
            None => Inversion::No,
        }
    }
}

/// An image for a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Laid out as IDX files are.
    pub image: Vec<u8>,
    /// Columns and rows of the picture, if they are not those of the image.
    pub resized_from: Option<[usize; 2]>,
    /// Whether a picture with colour became grey.
    pub turned_grey: bool,
    /// Whether bright and dark have changed places.
    pub inverted: bool,
}

impl Prepared {
    /// The picture as an image of this shape, `[channels, rows, columns]`.
    #[must_use]
    pub fn new(picture: &Picture, shape: [usize; 3], fit: Fit, inversion: Inversion) -> Prepared {
        let [channels, rows, columns] = shape;
        let mut image = picture.fit(shape, fit);
        let inverted = match inversion {
            Inversion::Auto => channels == 1 && is_dark_on_light(&image, columns),
            Inversion::Yes => true,
            Inversion::No => false,
        };
        if inverted {
            invert(&mut image, channels);
        }
        Prepared {
            image,
            resized_from: Some(picture.size()).filter(|&size| size != [columns, rows]),
            turned_grey: channels == 1
                && picture.may_have_colour()
                && has_colour(&picture.fit([3, rows, columns], fit)),
            inverted,
        }
    }

    /// What was done, in words.
    pub fn steps(&self) -> Vec<String> {
        let resized = self.resized_from.map(|[w, h]| format!("resized from {w}×{h}"));
        let grey = self.turned_grey.then(|| "turned grey".to_owned());
        let inverted = self.inverted.then(|| "inverted".to_owned());
        resized.into_iter().chain(grey).chain(inverted).collect()
    }
}
