//! What decoding takes: never more than is borrowed of the budget, measured by the allocator itself, and so in a test
//! binary of its own, with one test.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::{DynamicImage, ImageFormat};
use pictures::{Fit, Picture};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{fs, thread};

/// The system's allocator, which knows how much is in use and how much ever was.
struct Measuring;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Measuring = Measuring;

fn more(bytes: usize) {
    MOST.fetch_max(USED.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every call is passed on as it is; the default `realloc` and `alloc_zeroed` go by these.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

/// The most that is in use while this is done, beyond what is before.
fn most(work: impl FnOnce()) -> usize {
    let before = USED.load(Relaxed);
    MOST.store(before, Relaxed);
    work();
    MOST.load(Relaxed) - before
}

const MIB: usize = 1 << 20;

/// A PNG file of black pixels; `colour` and `depth` as its header has them.
fn png([width, height]: [u32; 2], colour: u8, depth: u8, bytes_per_pixel: usize) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], data: &[u8]| {
        file.extend((data.len() as u32).to_be_bytes());
        let body = [&name[..], data].concat();
        file.extend(&body);
        let mut crc = flate2::Crc::new();
        crc.update(&body);
        file.extend(crc.sum().to_be_bytes());
    };
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&size[..], &[depth, colour, 0, 0, 0]].concat());
    let mut data = ZlibEncoder::new(vec![], Compression::best());
    let row = vec![0; 1 + width as usize * bytes_per_pixel];
    (0..height).for_each(|_| data.write_all(&row).unwrap());
    chunk(b"IDAT", &data.finish().unwrap());
    chunk(b"IEND", &[]);
    file
}

/// A fixture with another size in its header, and a remark that makes the file long enough for it.
fn jpeg(name: &str, side: u16, remarks: usize) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures").join(name);
    let mut bytes = fs::read(path).unwrap();
    let frame = bytes.windows(2).position(|pair| matches!(pair, [0xff, 0xc0 | 0xc2])).unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&[side.to_be_bytes(); 2].concat());
    let remark = [&[0xff, 0xfe, 0xff, 0xff][..], &[0; 0xfffd]].concat();
    bytes.splice(2..2, remark.repeat(remarks));
    bytes
}

fn open(path: &Path, fit: Fit) -> Result<Vec<u8>, String> {
    Picture::open_then(path, 28, |picture| picture.fit([1, 28, 28], fit)).map_err(|e| e.to_string())
}

#[test]
fn all_decoders_together_take_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let photo = DynamicImage::new_rgb8(6000, 4000);
    let encoded = |format| {
        let mut bytes = Cursor::new(vec![]);
        photo.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    // What is allowed is decoded, by four threads at one time, in no more than the budget.
    let allowed = [
        file("baseline.jpg", &encoded(ImageFormat::Jpeg)),
        file("photo.bmp", &encoded(ImageFormat::Bmp)),
        file("rgb.png", &png([8000, 6000], 2, 8, 3)),
        file("rgba.png", &png([5000, 5000], 6, 8, 4)),
        file("deep.png", &png([4000, 5000], 6, 16, 8)),
        file("grey.png", &png([9000, 9000], 0, 8, 1)),
    ];
    drop(photo);
    for path in &allowed {
        for fit in [Fit::Pad, Fit::Crop] {
            let used = most(|| drop(open(path, fit).unwrap()));
            assert!(used <= 512 * MIB, "{}: {} MiB", path.display(), used / MIB);
        }
    }
    let together = most(|| {
        thread::scope(|scope| {
            for start in 0..4 {
                let allowed = &allowed;
                scope.spawn(move || {
                    for i in 0..allowed.len() {
                        open(&allowed[(start + i) % allowed.len()], Fit::Pad).unwrap();
                    }
                });
            }
        });
    });
    assert!(together <= 512 * MIB, "{} MiB", together / MIB);
    assert!(together >= 128 * MIB, "nothing was decoded: {} MiB", together / MIB);

    // What would take more, or cannot be in so small a file, is refused before it is paid.
    for (name, bytes, words) in [
        (
            "small.jpg",
            jpeg("progressive.jpg", 10_000, 0),
            "found 1389 bytes for 10000×10000 pixels",
        ),
        (
            "progressive.jpg",
            jpeg("progressive.jpg", 9_000, 4),
            "MiB to decode: expected at most 384",
        ),
        ("bomb.png", png([7000, 7000], 6, 16, 8), "MiB to decode: expected at most 384"),
    ] {
        let path = file(name, &bytes);
        let used = most(|| {
            let message = open(&path, Fit::Pad).unwrap_err();
            assert!(message.contains(words), "{message}");
        });
        assert!(used < 4 * MIB + 4 * bytes.len(), "{name}: {} MiB", used / MIB);
    }
    // A smaller one is decoded as far as its data go, or told to be damaged.
    let path = file("grown.jpg", &jpeg("progressive.jpg", 5_000, 2));
    let used = most(|| drop(open(&path, Fit::Pad)));
    assert!(used <= 384 * MIB, "{} MiB", used / MIB);
}
