//! How a backoff grows.

use std::fmt;

/// How a [`Backoff`](super::Backoff) grows from wait to wait: 1 (not at all) to 10, in steps of a
/// thousandth.
///
/// Made of a whole number or of one with decimals; what is no such factor is rejected when the layer is
/// built.
///
/// ```
/// use seawall::retry::{Backoff, Factor};
///
/// // As another library has it in its file: `multiplier: 1.5`.
/// let backoff: Backoff = serde_json::from_str(r#"{ "base": "100ms", "cap": "2s", "factor": 1.5 }"#)?;
/// assert_eq!(backoff.factor, Factor::from(1.5));
/// assert_eq!(Backoff::none().factor(3).factor, Factor::from(3));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Factor(u32);

impl Factor {
    /// A factor of so many thousandths: 1,500 is 1.5.
    pub const fn thousandths(thousandths: u32) -> Self {
        Self(thousandths)
    }

    /// The factor, in thousandths.
    pub const fn as_thousandths(self) -> u32 {
        self.0
    }
}

impl From<f64> for Factor {
    /// To the nearest thousandth. What is negative or no number becomes 0, which no retry accepts.
    fn from(factor: f64) -> Self {
        Self((factor * 1000.0).round() as u32) // saturates
    }
}

impl From<u32> for Factor {
    fn from(factor: u32) -> Self {
        Self(factor.saturating_mul(1000))
    }
}

impl From<i32> for Factor {
    /// What is negative becomes 0, which no retry accepts.
    fn from(factor: i32) -> Self {
        u32::try_from(factor).unwrap_or(0).into()
    }
}

impl PartialEq<u32> for Factor {
    fn eq(&self, other: &u32) -> bool {
        *self == Self::from(*other)
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1000.0)
    }
}

impl fmt::Debug for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Factor {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            to.serialize_u32(self.0 / 1000)
        } else {
            to.serialize_f64(f64::from(self.0) / 1000.0)
        }
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Factor {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        f64::deserialize(from).map(Self::from)
    }
}
