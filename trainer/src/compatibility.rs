//! Whether a data set is one that a model can be asked about.

use dataset::{Dataset, PixelStatistics};
use model::{Description, Model};
use std::path::PathBuf;
use thiserror::Error;

/// A data set that a model does not fit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}: {problem}", directory.display())]
pub struct Incompatible {
    directory: PathBuf,
    problem: String,
}

/// Whether the data have the images and the classes that the model was trained for.
///
/// Classes that have no names (a set without `labels.txt` has the numbers 0, 1, …) fit any names: as
/// many as the model has or, of the data, fewer, because the last classes may have no image there.
pub fn check_compatibility(data: &Dataset, model: &Model) -> Result<(), Incompatible> {
    let incompatible = |problem| Err(Incompatible { directory: data.directory().into(), problem });
    let (found, expected) = (data.image_shape(), model.network.input());
    if found != expected {
        let [found, expected] =
            [found, expected].map(|shape| shape.map(|n| n.to_string()).join("×"));
        return incompatible(format!(
            "its images are {found} (channels × rows × columns), those of the model {expected}"
        ));
    }
    if data.is_multi_label() != model.multi_label {
        let [found, expected] = [data.is_multi_label(), model.multi_label]
            .map(|several| if several { "several labels" } else { "one label" });
        let images = "its images have";
        return incompatible(format!("{images} {found} each, those of the model {expected}"));
    }
    let (found, expected) = (data.class_names(), &model.classes[..]);
    let fewer = is_unnamed(found) && found.len() < expected.len();
    if found.len() != expected.len() && !fewer {
        let (found, expected) = (found.len(), expected.len());
        return incompatible(format!("it has {found} classes, the model {expected}"));
    }
    if is_unnamed(found) || is_unnamed(expected) {
        return Ok(());
    }
    match found.iter().zip(expected).position(|(found, expected)| found != expected) {
        None => Ok(()),
        Some(class) => incompatible(format!(
            "its class {class} is {:?}, that of the model {:?}",
            found[class], expected[class]
        )),
    }
}

/// By what the images that a model was trained on differ from those that its weights are to be trained further
/// on, as far as both are known: size and channels, preparation, scaling.
pub(crate) fn differences(
    of_model: &Description,
    data: &Dataset,
    scaling: &PixelStatistics,
) -> Vec<String> {
    let mut differences = vec![];
    let (theirs, ours) = (of_model.input, data.image_shape());
    if theirs != ours {
        let [theirs, ours] = [theirs, ours].map(|shape| shape.map(|n| n.to_string()).join("×"));
        let what = "images (channels × rows × columns)";
        differences.push(format!("{what} of {theirs} there, of {ours} here"));
    }
    if let (Some(theirs), Some(ours)) = (of_model.preparation, data.preparation())
        && theirs != ours
    {
        differences.push(format!("pictures prepared by {theirs} there, by {ours} here"));
    }
    let theirs = (&of_model.mean[..], &of_model.std[..]);
    let ours = (&scaling.mean[..], &scaling.std[..]);
    if !is_close(theirs, ours) {
        let words = |(mean, std): (&[f64], &[f64])| {
            let numbers = |values: &[f64]| {
                let numbers = values.iter().map(|value| format!("{value:.4}"));
                numbers.collect::<Vec<_>>().join(", ")
            };
            format!("mean [{}] and deviation [{}]", numbers(mean), numbers(std))
        };
        differences.push(format!(
            "pixels scaled by {} there, by {} here",
            words(theirs),
            words(ours)
        ));
    }
    differences
}

/// Whether two scalings are the same but for what other images held out make of them: a hundredth of the
/// deviation.
fn is_close(theirs: (&[f64], &[f64]), ours: (&[f64], &[f64])) -> bool {
    let of = |values: &[f64], channel: usize| values[channel.min(values.len() - 1)];
    let channels = [theirs.0, theirs.1, ours.0, ours.1].map(<[f64]>::len).into_iter().max();
    (0..channels.unwrap_or(0)).all(|channel| {
        let near = |a: &[f64], b: &[f64]| {
            (of(a, channel) - of(b, channel)).abs() <= 0.01 * of(theirs.1, channel)
        };
        near(theirs.0, ours.0) && near(theirs.1, ours.1)
    })
}

fn is_unnamed(names: &[String]) -> bool {
    names.iter().enumerate().all(|(class, name)| *name == class.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataset::Source;
    use model::{Fit, Init, Network, Preparation, flatten, layers, linear};

    fn model(shape: [usize; 3], classes: &[&str]) -> Model {
        let network = Network::new(shape, &layers![flatten(), linear(classes.len())]).unwrap();
        Model {
            preset: "custom".into(),
            weights: network.initialise(1, Init::Pytorch),
            network,
            classes: classes.iter().map(|name| name.to_string()).collect(),
            mean: vec![0.0],
            std: vec![1.0],
            multi_label: false,
            preparation: None,
        }
    }

    /// Two test images of 1×2 pixels, without labels.
    fn two_images() -> tempfile::TempDir {
        let directory = tempfile::TempDir::new().unwrap();
        let header = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        let images = [&header[..], &[9, 8, 7, 6]].concat();
        std::fs::write(directory.path().join("t10k-images-idx3-ubyte"), images).unwrap();
        directory
    }

    #[test]
    fn images_prepared_otherwise_differ() {
        let directory = two_images();
        let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes);
        write("t10k-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 0, 1]).unwrap();
        write("preparation.toml", b"fit = \"crop\"\ninvert = false\n").unwrap();
        let data = Dataset::open(&Source::new(directory.path())).unwrap();
        let ours = PixelStatistics { mean: vec![0.301], std: vec![0.4] };
        let find = |shape, scaling: (f64, f64), preparation| {
            let path = directory.path().join("model.safetensors");
            let model = Model {
                mean: vec![scaling.0],
                std: vec![scaling.1],
                preparation,
                ..model(shape, &["a"])
            };
            model.save(&path).unwrap();
            let description = Description::read(&path).unwrap().unwrap();
            differences(&description, &data, &ours)
        };
        let same = Some(Preparation::new(false, Fit::Crop));
        for preparation in [same, None] {
            assert_eq!(find([1, 1, 2], (0.3, 0.4), preparation), [""; 0]);
        }
        let other = Some(Preparation::new(true, Fit::Pad));
        assert_eq!(
            find([3, 1, 2], (0.5, 0.5), other),
            [
                "images (channels × rows × columns) of 3×1×2 there, of 1×1×2 here",
                "pictures prepared by pad and inverted there, by crop and not inverted here",
                "pixels scaled by mean [0.5000] and deviation [0.5000] there, by mean [0.3010] and deviation \
                 [0.4000] here",
            ]
        );
    }

    #[test]
    fn shapes_and_classes_must_agree() {
        let directory = two_images();
        let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes);
        write("t10k-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 0, 1]).unwrap();
        let check = |model: &Model| {
            let data = Dataset::open(&Source::new(directory.path())).unwrap();
            check_compatibility(&data, model).map_err(|error| error.to_string())
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
