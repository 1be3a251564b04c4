//! Draws pictures as a small shop might keep them, to try `import` on: a folder for each of four
//! kinds of clothes, in each sixty pictures of different sizes and proportions. The same every time.
//!
//! ```text
//! cargo run --release --example shop_pictures -- target/shop-pictures
//! cargo run --release --bin import -- target/shop-pictures --out target/shop
//! cargo run --release --bin train -- --data target/shop
//! ```

use bobbin::autograd::{Philox, Purpose, unit};
use image::{ImageFormat, Rgb, RgbImage};
use std::path::Path;
use std::{env, fs, io};

/// Pictures of each kind.
pub const PICTURES: u32 = 60;

/// Whether a point lies on a garment that fills a square from −1 to 1, x to the right, y down.
type Garment = fn(x: f32, y: f32) -> bool;

/// The kinds, each with the name of its folder.
pub const GARMENTS: [(&str, Garment); 4] =
    [("Boot", boot), ("Dress", dress), ("Shirt", shirt), ("Trousers", trousers)];

/// A shaft, a foot with a round toe, and a gap above the heel's sole.
fn boot(x: f32, y: f32) -> bool {
    let shaft = (-0.55..0.1).contains(&x) && (-0.8..0.7).contains(&y);
    let toe = (x - 0.35).powi(2) + (y - 0.4).powi(2) < 0.09;
    let foot = (0.0..0.35).contains(&x) && (0.1..0.7).contains(&y);
    let gap = (-0.25..0.05).contains(&x) && y > 0.62;
    (shaft || toe || foot) && !gap
}

/// Two straps, a narrow waist, a wide hem.
fn dress(x: f32, y: f32) -> bool {
    let x = x.abs();
    let half = 0.22 + 0.55 * (y + 0.1).max(0.0) + 0.2 * (-y - 0.1).max(0.0);
    (-0.55..0.85).contains(&y) && x < half
        || (-0.85..-0.5).contains(&y) && (0.14..0.24).contains(&x)
}

/// A body with a neck and two sleeves that hang a little.
fn shirt(x: f32, y: f32) -> bool {
    let x = x.abs();
    let body = x < 0.45 && (-0.6..0.75).contains(&y);
    let fall = 0.5 * (x - 0.3);
    let sleeve = x < 0.95 && y > -0.65 + fall && y < -0.15 + fall;
    let neck = x * x + (y + 0.65).powi(2) < 0.05;
    (body || sleeve) && !neck
}

/// Two legs.
fn trousers(x: f32, y: f32) -> bool {
    let x = x.abs();
    (-0.85..0.85).contains(&y) && x < 0.42 + 0.08 * y && (y < -0.35 || x > 0.04 + 0.08 * (y + 0.35))
}

/// Draws all pictures into this folder; older ones of the same names are replaced.
pub fn draw(folder: &Path) -> io::Result<()> {
    for (kind, (name, garment)) in GARMENTS.into_iter().enumerate() {
        fs::create_dir_all(folder.join(name))?;
        for number in 0..PICTURES {
            let picture = picture(garment, [kind as u32, number]);
            // As collections grow: most are of one kind of file, some of another.
            let (ending, format) = match number % 10 {
                3 => ("jpg", ImageFormat::Jpeg),
                7 => ("bmp", ImageFormat::Bmp),
                _ => ("png", ImageFormat::Png),
            };
            let path = folder.join(name).join(format!("{number:02}.{ending}"));
            picture.save_with_format(path, format).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

/// A garment of some colour before a bright wall, not quite straight, with noise.
fn picture(garment: Garment, [kind, number]: [u32; 2]) -> RgbImage {
    let philox = Philox::new(1, Purpose::Augmentation);
    let random = |i: u32| unit(philox.words([kind, number, i / 4, 0])[i as usize % 4]);
    let between = |i: u32, low: f32, high: f32| low + (high - low) * random(i);

    let width = between(0, 60.0, 180.0).round();
    let height = (width * between(1, 0.8, 1.35)).round();
    let scale = 0.5 * width.min(height) * between(2, 0.7, 1.0);
    let [left, top] =
        [0.5 * width + between(3, -0.05, 0.05) * width, 0.5 * height + between(4, -5.0, 5.0)];
    let (sine, cosine) = between(5, -0.2, 0.2).sin_cos();
    let side = if random(6) < 0.5 { -1.0 } else { 1.0 };
    let wall = between(7, 205.0, 250.0);
    let cloth = [8, 9, 10].map(|i| between(i, 10.0, 150.0));
    let stripes = random(11) < 0.3;

    RgbImage::from_fn(width as u32, height as u32, |column, row| {
        let (x, y) = ((column as f32 - left) / scale, (row as f32 - top) / scale);
        let (x, y) = (side * (x * cosine + y * sine), y * cosine - x * sine);
        let noise = 24.0 * (unit(philox.words([kind, number, column, 1 + row])[0]) - 0.5);
        let light = if stripes && (9.0 * y).rem_euclid(2.0) < 0.7 { 1.4 } else { 1.0 };
        let colour = |c: usize| if garment(x, y) { light * cloth[c] } else { wall - 8.0 * y };
        Rgb([0, 1, 2].map(|c| (colour(c) + noise).clamp(0.0, 255.0) as u8))
    })
}

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).unwrap_or("target/shop-pictures".into());
    draw(Path::new(&folder))?;
    println!("{} pictures in {}", PICTURES as usize * GARMENTS.len(), folder.display());
    Ok(())
}
