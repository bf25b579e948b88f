//! Pure pieces that machines are made of. Time is an argument; nothing locks, nothing allocates
//! after it was made.

pub(crate) mod backoff;
pub(crate) mod break_duration;
#[cfg(feature = "log")]
pub(crate) mod crc32c;
pub(crate) mod evidence;
pub(crate) mod recent;
pub(crate) mod window;

/// A number in `0..=max`, evenly, from a random draw; by multiplication, so that no division is
/// needed (Lemire 2019).
pub(crate) fn spread(max: u64, draw: u64) -> u64 {
    let product = u128::from(draw) * (u128::from(max) + 1);
    (product >> 64) as u64
}

#[cfg(test)]
mod tests;
