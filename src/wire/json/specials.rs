//! Where a JSON string cannot go on as it is, for many bytes at a time: quotes, backslashes and control
//! characters.

use wide::u8x16;

/// As many bytes as a number has bits.
pub(super) const BLOCK: usize = 64;

/// One bit for each special byte of the block of `bytes` that begins there, and none behind the end.
#[inline]
pub(super) fn specials_from(bytes: &[u8], start: usize) -> u64 {
    let rest = bytes.get(start..).unwrap_or_default();
    if let Some(block) = rest.first_chunk() {
        return specials_of(block);
    }
    // The last block that there is reaches back over what was read before.
    if let Some(block) = bytes.last_chunk() {
        let missing = BLOCK - rest.len();
        return if missing < BLOCK {
            specials_of(block) >> missing
        } else {
            0
        };
    }
    let mut padded = [b' '; BLOCK];
    if let Some(here) = padded.get_mut(..rest.len()) {
        here.copy_from_slice(rest);
    }
    specials_of(&padded)
}

fn specials_of(block: &[u8; BLOCK]) -> u64 {
    let (lanes, _) = block.as_chunks();
    let lanes = lanes.iter().enumerate();
    lanes.fold(0, |all, (nth, lanes)| {
        all | u64::from(specials_of_lanes(lanes)) << (16 * nth)
    })
}

fn specials_of_lanes(lanes: &[u8; 16]) -> u32 {
    let bytes = u8x16::new(*lanes);
    let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    let quote = bytes.simd_eq(u8x16::splat(b'"'));
    let backslash = bytes.simd_eq(u8x16::splat(b'\\'));
    (control | quote | backslash).to_bitmask()
}
