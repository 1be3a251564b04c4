//! Whether a data set is one that a model can be asked about.

use crate::data::Dataset;
use model::Model;
use std::path::PathBuf;
use thiserror::Error;

/// A data set that a model does not fit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}: {problem}", directory.display())]
pub struct Misfit {
    directory: PathBuf,
    problem: String,
}

/// Whether the data have the images and the classes that the model was trained for.
///
/// Classes that have no names (a set without `labels.txt` has the numbers 0, 1, …) fit any names: as
/// many as the model has or, of the data, fewer, because the last classes may have no image there.
pub fn check_fit(data: &Dataset, model: &Model) -> Result<(), Misfit> {
    let misfit = |problem| Err(Misfit { directory: data.directory().into(), problem });
    let (found, expected) = (data.image_shape(), model.network.input());
    if found != expected {
        let [found, expected] =
            [found, expected].map(|shape| shape.map(|n| n.to_string()).join("×"));
        return misfit(format!(
            "its images are {found} (channels × rows × columns), those of the model {expected}"
        ));
    }
    let (found, expected) = (data.class_names(), &model.classes[..]);
    let fewer = is_unnamed(found) && found.len() < expected.len();
    if found.len() != expected.len() && !fewer {
        let (found, expected) = (found.len(), expected.len());
        return misfit(format!("it has {found} classes, the model {expected}"));
    }
    if is_unnamed(found) || is_unnamed(expected) {
        return Ok(());
    }
    match found.iter().zip(expected).position(|(found, expected)| found != expected) {
        None => Ok(()),
        Some(class) => misfit(format!(
            "its class {class} is {:?}, that of the model {:?}",
            found[class], expected[class]
        )),
    }
}

fn is_unnamed(names: &[String]) -> bool {
    names.iter().enumerate().all(|(class, name)| *name == class.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Source;
    use model::{Init, Network, flatten, linear};

    fn model(shape: [usize; 3], classes: &[&str]) -> Model {
        let network = Network::new(shape, &[flatten(), linear(classes.len())]).unwrap();
        Model {
            preset: "custom".into(),
            weights: network.initialise(1, Init::Pytorch),
            network,
            classes: classes.iter().map(|name| name.to_string()).collect(),
            mean: vec![0.0],
            std: vec![1.0],
        }
    }

    #[test]
    fn shapes_and_classes_must_agree() {
        let directory = tempfile::TempDir::new().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes);
        let header = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        write("t10k-images-idx3-ubyte", &[&header[..], &[9, 8, 7, 6]].concat()).unwrap();
        write("t10k-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 0, 1]).unwrap();
        let check = |model: &Model| {
            let data = Dataset::open(&Source::new(directory.path())).unwrap();
            check_fit(&data, model).map_err(|error| error.to_string())
        };

        let shape = [1, 1, 2];
        for classes in [&["0", "1"][..], &["cat", "dog"], &["cat", "dog", "owl"]] {
            assert_eq!(check(&model(shape, classes)), Ok(()), "{classes:?}");
        }
        let words = "its images are 1×1×2 (channels × rows × columns), those of the model 3×1×2";
        assert!(check(&model([3, 1, 2], &["0", "1"])).unwrap_err().ends_with(words));
        let words = "it has 2 classes, the model 1";
        assert!(check(&model(shape, &["cat"])).unwrap_err().ends_with(words));

        write("labels.txt", b"cat\ndog\n").unwrap();
        for classes in [&["0", "1"][..], &["cat", "dog"]] {
            assert_eq!(check(&model(shape, classes)), Ok(()), "{classes:?}");
        }
        let words = "its class 1 is \"dog\", that of the model \"owl\"";
        assert!(check(&model(shape, &["cat", "owl"])).unwrap_err().ends_with(words));
        let words = "it has 2 classes, the model 3";
        assert!(check(&model(shape, &["cat", "dog", "owl"])).unwrap_err().ends_with(words));
    }
}
