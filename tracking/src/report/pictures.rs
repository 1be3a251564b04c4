//! What can be looked at: mistakes, and the filters of the first convolution.

use super::format::{data_url, escape};
use super::{Scored, class_name, section};
use crate::raster::Raster;
use model::{Model, Parameter};
use std::fmt::Write;

/// Mistakes that are shown at most.
const MISTAKES: usize = 24;

/// Rows and columns of a picture at most; a larger one is shown smaller.
const SIDE: usize = 80;

/// Filters, and channels of a filter, that are shown at most.
const FILTERS: usize = 128;
const CHANNELS: usize = 16;

/// The mistakes that the network was surest of; `shape` is rows, columns and channels of an image.
pub(super) fn mistakes(scored: Scored<'_>, shape: [usize; 3]) -> String {
    let scores = scored.scores;
    if scores.mistakes.is_empty() {
        let text = if scores.top1 == 1.0 { "There are none." } else { "None are listed." };
        return section("Surest mistakes", &format!("<p class=\"absent\">{text}</p>"));
    }
    let mut text = String::from(
        "<p>Wrong answers that the network gave the highest probability: often hard images, or labels \
         that are wrong themselves.</p>\n<div class=\"pictures\">\n",
    );
    for mistake in scores.mistakes.iter().take(MISTAKES) {
        let picture = smaller(shape, &scored.split.image(mistake.image));
        let names = [mistake.label, mistake.predicted].map(|class| class_name(scores, class));
        let _ = writeln!(
            text,
            "<figure><img alt=\"\" src=\"{}\"><figcaption><span class=\"found\">{} \
             <b>{:.1} %</b></span><span class=\"truth\">true: {}</span><small>{}</small>\
             </figcaption></figure>",
            data_url(&picture.png()),
            names[1],
            100.0 * mistake.probability,
            names[0],
            escape(mistake.name.as_ref().unwrap_or(&format!("image {}", mistake.image)))
        );
    }
    section("Surest mistakes", &(text + "</div>\n"))
}

/// A picture of no more than [`SIDE`] rows and columns: means of squares of pixels.
fn smaller(shape: [usize; 3], pixels: &[u8]) -> Raster {
    let [height, width, channels] = shape;
    let square = height.max(width).div_ceil(SIDE);
    if square == 1 {
        return Raster::new(shape, pixels.to_vec());
    }
    let [rows, columns] = [height, width].map(|size| size.div_ceil(square));
    let mean = |i: usize| {
        let (row, column, channel) =
            (i / channels / columns * square, i / channels % columns * square, i % channels);
        let [ys, xs] = [row..height.min(row + square), column..width.min(column + square)];
        let count = ys.len() * xs.len();
        let of_row = |y: usize| {
            let value = |x: usize| usize::from(pixels[(y * width + x) * channels + channel]);
            xs.clone().map(value).sum::<usize>()
        };
        (ys.map(of_row).sum::<usize>() / count) as u8
    };
    Raster::new([rows, columns, channels], (0..rows * columns * channels).map(mean).collect())
}

/// The filters of the first convolution.
pub(super) fn filters(model: &Model) -> String {
    let of_images = |parameter: &&Parameter| parameter.shape.len() == 4;
    let Some(parameter) = model.network.parameters().iter().find(of_images) else {
        let text = "<p class=\"absent\">The network has no convolution.</p>";
        return section("First filters", text);
    };
    let &[outputs, channels, height, width] = parameter.shape.as_slice() else {
        unreachable!("four sizes")
    };
    let weights = parameter.place.of(&model.weights);
    let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
    let shown = [outputs.min(FILTERS), channels.min(CHANNELS)];
    let is_colour = channels == 3 && model.network.input()[0] == 3;
    let mut text = describe(parameter, is_colour, largest);
    text += "<div class=\"pictures filters\">\n";
    let area = height * width;
    for (number, filter) in weights.chunks_exact(channels * area).take(shown[0]).enumerate() {
        let raster = if is_colour {
            let pixel = |i: usize| level(filter[i % 3 * area + i / 3], largest);
            Raster::new([height, width, 3], (0..3 * area).map(pixel).collect())
        } else {
            let slices: Vec<Vec<u8>> = filter
                .chunks_exact(area)
                .take(shown[1])
                .map(|slice| slice.iter().flat_map(|&weight| signed(weight, largest)).collect())
                .collect();
            Raster::grid([height, width, 3], 4, slices.iter().map(Vec::as_slice))
        };
        let _ = writeln!(
            text,
            "<img alt=\"filter {number}\" title=\"filter {number}\" src=\"{}\">",
            data_url(&raster.png())
        );
    }
    text += "</div>\n";
    if shown != [outputs, channels] {
        let _ = writeln!(
            text,
            "<p>{} of {outputs} filters are shown, {} of {channels} channels of each.</p>",
            shown[0], shown[1]
        );
    }
    section("First filters", &text)
}

fn describe(parameter: &Parameter, is_colour: bool, largest: f32) -> String {
    let [outputs, channels, height, width] = parameter.shape[..] else { return String::new() };
    let colours = if is_colour {
        format!("as RGB: grey is 0, black and white are ∓{largest:.3}")
    } else {
        format!(
            "<span class=\"sign negative\">−{largest:.3}</span> to white (0) to \
             <span class=\"sign positive\">{largest:.3}</span>"
        )
    };
    let of = if channels == 1 { "1 channel".into() } else { format!("{channels} channels") };
    format!(
        "<p><code>{}</code>: {outputs} filters of {height}×{width} on {of}; {colours}.</p>\n",
        escape(&parameter.name)
    )
}

/// Grey is 0.
fn level(weight: f32, largest: f32) -> u8 {
    let part = if largest > 0.0 { weight / largest } else { 0.0 };
    (127.5 + 127.5 * part).round() as u8
}

/// White is 0, blue negative, red positive.
fn signed(weight: f32, largest: f32) -> [u8; 3] {
    let part = if largest > 0.0 { weight / largest } else { 0.0 };
    let end = if part < 0.0 { [33.0, 102.0, 172.0] } else { [178.0, 24.0, 43.0] };
    end.map(|channel| (255.0 + (channel - 255.0) * part.abs()).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_picture_is_shown_smaller() {
        let pixels: Vec<u8> = (0..161 * 200 * 3).map(|i| [10, 20, 30][i % 3]).collect();
        let raster = smaller([161, 200, 3], &pixels);
        assert_eq!(raster.shape(), [54, 67, 3]);
        assert!(raster.pixels().chunks(3).all(|pixel| pixel == [10, 20, 30]));
        let mut pixels = vec![0; 81 * 81];
        pixels[..2].fill(200);
        assert_eq!(smaller([81, 81, 1], &pixels).pixels()[..2], [100, 0]);
    }

    #[test]
    fn weights_have_the_colour_of_their_sign() {
        assert_eq!([signed(0.0, 2.0), signed(0.0, 0.0)], [[255; 3]; 2]);
        assert_eq!([signed(2.0, 2.0), signed(-2.0, 2.0)], [[178, 24, 43], [33, 102, 172]]);
        assert_eq!([level(-1.0, 1.0), level(0.0, 0.0), level(1.0, 1.0)], [0, 128, 255]);
    }
}
