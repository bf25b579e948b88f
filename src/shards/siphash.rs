//! `SipHash`-2-4 (Aumasson, Bernstein 2012): a keyed hash. Who does not know the secret cannot choose keys that fall
//! together.

/// The hash of `bytes` under a secret of 16.
#[allow(clippy::many_single_char_names)] // as in the paper
pub(super) fn siphash(secret: &[u8; 16], bytes: &[u8]) -> u64 {
    let word = |bytes: &[u8]| {
        let mut word = [0_u8; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    let (low, high) = (word(&secret[..8]), word(&secret[8..]));
    let mut state = [
        low ^ 0x736f_6d65_7073_6575,
        high ^ 0x646f_7261_6e64_6f6d,
        low ^ 0x6c79_6765_6e65_7261,
        high ^ 0x7465_6462_7974_6573,
    ];
    let whole = bytes.chunks_exact(8);
    let last = word(whole.remainder()) | (bytes.len() as u64) << 56;
    for block in whole.map(word).chain([last]) {
        state[3] ^= block;
        round(&mut state);
        round(&mut state);
        state[0] ^= block;
    }
    state[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut state));
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

const fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::siphash;

    /// Appendix A of the paper, and the first vectors of the reference implementation.
    #[test]
    fn it_is_that_of_the_paper() {
        let secret: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let message: [u8; 15] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        for (length, hash) in
            [(0, 0x726f_db47_dd0e_0e31), (1, 0x74f8_39c5_93dc_67fd), (15, 0xa129_ca61_49be_45e5)]
        {
            assert_eq!(siphash(&secret, &message[..length]), hash, "of {length} bytes");
        }
    }
}
