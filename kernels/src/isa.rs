//! Which SIMD path a kernel takes.

use crate::simd::Portable;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512, Avx512Bf16};
use std::fmt;
#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

/// A SIMD path that this processor has.
///
/// Only detection makes one, so holding an `Isa` is the proof that its instructions exist. Find it
/// once and pass it down: it is a small `Copy` value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(pub(crate) Path);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512, Option<Avx512Bf16>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Portable(Portable),
}

/// Lowers the path below what the processor has: `avx512` (without the instruction for bfloat16), `avx2` or
/// `portable`.
pub const ISA_VARIABLE: &str = "BOBBIN_ISA";

/// A comma-separated list of paths that [`Isa::available`] must find; a missing one is a panic, so
/// that a test run that promises a path cannot pass without it.
pub const REQUIRED_VARIABLE: &str = "BOBBIN_REQUIRE_ISA";

/// The value of `BOBBIN_ISA` that is not the name of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownIsa(String);

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ISA_VARIABLE}={}: expected avx512bf16, avx512, avx2 or portable", self.0)
    }
}

impl std::error::Error for UnknownIsa {}

impl Isa {
    /// The widest path of this processor.
    #[must_use]
    pub fn detect() -> Isa {
        Self::detected().next().expect("the portable path is always there")
    }

    /// The widest path of this processor that `BOBBIN_ISA` allows. A path that the processor lacks
    /// falls to the next: the variable lowers, it never raises.
    pub fn from_env() -> Result<Isa, UnknownIsa> {
        let Some(name) = std::env::var_os(ISA_VARIABLE) else { return Ok(Self::detect()) };
        // A name that is not UTF-8 is that of no path.
        let name = name.to_string_lossy().into_owned();
        Self::at_most(&name).ok_or(UnknownIsa(name))
    }

    /// The widest path of this processor that is not above the path of this name.
    fn at_most(name: &str) -> Option<Isa> {
        let rank = NAMES.iter().position(|known| *known == name)?;
        Self::detected()
            .find(|isa| NAMES.iter().position(|known| *known == isa.name()) >= Some(rank))
    }

    /// Every path of this processor that computes `f32` in its own way, widest first. For tests, which run on all of
    /// them.
    ///
    /// # Panics
    /// If `BOBBIN_REQUIRE_ISA` names a path that is not there.
    pub fn available() -> Vec<Isa> {
        let mut found = Self::available_bf16();
        // Without the instruction for bfloat16, the rest is the same.
        let has_instruction = found[0].name() == "avx512bf16";
        found.retain(|isa| !has_instruction || isa.name() != "avx512");
        found
    }

    /// Every path of this processor that computes bfloat16 in its own way, widest first.
    ///
    /// # Panics
    /// As [`Isa::available`].
    pub fn available_bf16() -> Vec<Isa> {
        let found: Vec<Isa> = Self::detected().collect();
        let required = std::env::var(REQUIRED_VARIABLE).unwrap_or_default();
        for name in required.split(',').filter(|name| !name.is_empty()) {
            assert!(
                found.iter().any(|isa| isa.name() == name),
                "{REQUIRED_VARIABLE} asks for the path `{name}`, which this processor lacks"
            );
        }
        found
    }

    fn detected() -> impl Iterator<Item = Isa> {
        #[cfg(target_arch = "x86_64")]
        let wide = {
            static BF16: OnceLock<Option<Avx512Bf16>> = OnceLock::new();
            let avx512 = Avx512::detect();
            let bf16 = avx512.and_then(|s| *BF16.get_or_init(|| Avx512Bf16::agreeing(s)));
            [
                avx512.filter(|_| bf16.is_some()).map(|s| Path::Avx512(s, bf16)),
                avx512.map(|s| Path::Avx512(s, None)),
                Avx2::detect().map(Path::Avx2),
            ]
        };
        #[cfg(not(target_arch = "x86_64"))]
        let wide: [Option<Path>; 0] = [];
        wide.into_iter().flatten().chain([Path::Portable(Portable)]).map(Isa)
    }

    /// `avx512bf16`, `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512(_, Some(_)) => "avx512bf16",
            #[cfg(target_arch = "x86_64")]
            Path::Avx512(_, None) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Path::Avx2(_) => "avx2",
            Path::Portable(_) => "portable",
        }
    }
}

/// From the widest path to the narrowest.
const NAMES: [&str; 4] = ["avx512bf16", "avx512", "avx2", "portable"];

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Evaluates `$body` with `$simd` bound to the token of the path: once per kernel call, at the
/// crate's face.
macro_rules! dispatch {
    ($isa:expr, $simd:ident => $body:expr) => {
        match $isa.0 {
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Path::Avx512($simd, _) => $body,
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Path::Avx2($simd) => $body,
            $crate::isa::Path::Portable($simd) => $body,
        }
    };
}
pub(crate) use dispatch;

/// [`dispatch`] with `$step` bound to the arithmetic of bfloat16 besides.
macro_rules! dispatch_bf16 {
    ($isa:expr, ($simd:ident, $step:ident) => $body:expr) => {
        match $isa.0 {
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Path::Avx512($simd, Some($step)) => $body,
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Path::Avx512($simd, None) => {
                let $step = $crate::simd::Pairs;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Path::Avx2($simd) => {
                let $step = $crate::simd::Pairs;
                $body
            }
            $crate::isa::Path::Portable($simd) => {
                let $step = $crate::simd::Pairs;
                $body
            }
        }
    };
}
pub(crate) use dispatch_bf16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_lowers_and_never_raises() {
        assert_eq!(Isa::at_most("portable").unwrap().name(), "portable");
        assert!(!Isa::at_most("avx2").unwrap().name().starts_with("avx512"));
        assert_ne!(Isa::at_most("avx512").unwrap().name(), "avx512bf16");
        assert_eq!(Isa::at_most("avx512bf16"), Some(Isa::detect()));
        assert_eq!(Isa::at_most("sse9"), None);
    }
}
