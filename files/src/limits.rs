//! What a file may cost: bounds on operations and memory that are held against it before they are paid.
//!
//! A file of a few bytes can describe a network of any size, or a picture. Its reader computes what that would
//! take, by formulas in the numbers that the file holds, and refuses what is above the limits. Who needs more
//! raises them, all alike, by the variable `BOBBIN_LIMITS`.

use std::fmt;
use std::sync::OnceLock;

/// How many times the standard limits are allowed: a number from 1 to 1024.
pub const LIMITS_VARIABLE: &str = "BOBBIN_LIMITS";

/// What a file may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Products and other steps of a network for one image, those with padding too.
    pub products: u64,
    /// Floats of a network's parameters.
    pub parameters: u64,
    /// Bytes that a thread needs to run a network on sixteen images: weights, tables, and what each layer gives.
    pub network_bytes: u64,
    /// Bytes of all pictures that are being decoded at one time, with their files.
    pub picture_bytes: u64,
    /// Bytes of the pickle in a file of PyTorch: names, shapes and what else is not a tensor's values.
    pub pickle_bytes: u64,
}

/// A value of `BOBBIN_LIMITS` that is no number from 1 to 1024.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLimits(String);

impl fmt::Display for UnknownLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = "expected how many times the standard limits are allowed, from 1 to 1024";
        write!(f, "{LIMITS_VARIABLE}={}: {expected}", self.0)
    }
}

impl std::error::Error for UnknownLimits {}

impl Limits {
    /// What is allowed unless its user says otherwise: 2³⁶ products, 2²⁸ parameters, 4 GiB for a network, 512
    /// MiB for pictures and 4 MiB for a pickle.
    pub const STANDARD: Limits = Limits {
        products: 1 << 36,
        parameters: 1 << 28,
        network_bytes: 1 << 32,
        picture_bytes: 1 << 29,
        pickle_bytes: 1 << 22,
    };

    /// So many times the standard limits.
    #[must_use]
    pub const fn times(factor: u16) -> Limits {
        let (standard, factor) = (Limits::STANDARD, factor as u64);
        Limits {
            products: standard.products * factor,
            parameters: standard.parameters * factor,
            network_bytes: standard.network_bytes * factor,
            picture_bytes: standard.picture_bytes * factor,
            pickle_bytes: standard.pickle_bytes * factor,
        }
    }

    /// The limits that `BOBBIN_LIMITS` asks for.
    pub fn from_env() -> Result<Limits, UnknownLimits> {
        match std::env::var_os(LIMITS_VARIABLE) {
            None => Ok(Limits::STANDARD),
            Some(text) => {
                let factor = text.to_str().and_then(|text| text.parse().ok());
                let factor = factor.filter(|factor| (1..=1024).contains(factor));
                let unknown = || UnknownLimits(text.to_string_lossy().into_owned());
                factor.map(Limits::times).ok_or_else(unknown)
            }
        }
    }

    /// Those of this process: what `BOBBIN_LIMITS` asked for when first looked at, or the standard ones where it
    /// asks for nothing that can be understood.
    pub fn in_force() -> Limits {
        static LIMITS: OnceLock<Limits> = OnceLock::new();
        *LIMITS.get_or_init(|| Limits::from_env().unwrap_or(Limits::STANDARD))
    }
}
