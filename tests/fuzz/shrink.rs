//! Makes a script that breaks something as short and as plain as it can be.

use crate::script::HEAD;

/// Scripts are short, and runs are fast.
const MOST_TRIES: u32 = 20_000;

/// The shortest that still fails: pieces are left out, and bytes made smaller, until nothing can be.
pub(crate) fn shrink(bytes: &[u8], mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = bytes.to_vec();
    let mut tries = 0;
    let mut fails = |candidate: &[u8]| {
        tries += 1;
        tries <= MOST_TRIES && fails(candidate)
    };
    loop {
        let before = best.clone();
        leave_out(&mut best, &mut fails);
        make_smaller(&mut best, &mut fails);
        if best == before {
            return best;
        }
    }
}

/// Steps of two bytes, many of them at a time, then fewer.
fn leave_out(best: &mut Vec<u8>, fails: &mut impl FnMut(&[u8]) -> bool) {
    let mut steps = best.len().saturating_sub(HEAD) / 2;
    while steps > 0 {
        let mut at = HEAD;
        while at < best.len() {
            let mut shorter = best.clone();
            shorter.drain(at..(at + 2 * steps).min(best.len()));
            if fails(&shorter) {
                *best = shorter;
            } else {
                at += 2 * steps;
            }
        }
        steps /= 2;
    }
}

fn make_smaller(best: &mut [u8], fails: &mut impl FnMut(&[u8]) -> bool) {
    for at in 0..best.len() {
        for smaller in [0, best[at] / 2, best[at].saturating_sub(1)] {
            if smaller >= best[at] {
                continue;
            }
            let byte = std::mem::replace(&mut best[at], smaller);
            if fails(best) {
                break;
            }
            best[at] = byte;
        }
    }
}
