//! Networks that take all images for one class, or nearly all.

/// What to say of a network that takes every image, or nearly every one, for one class; and what to try.
pub fn advice_on_collapse(class: &str) -> String {
    format!(
        "nearly every validation image is taken for {class:?}: the network tells no classes apart. Try a lower \
         optimizer.lr, a schedule.warmup, optimizer.clip_norm, or more epochs; if the data has far more images \
         of some classes, model.class_weights=balanced or data.sampling=balanced"
    )
}
