//! Packed activations: a batch in the layout of one tier's kernels ([`layout`](super::layout)).

use alloc::vec::Vec;
use core::ops::Range;

use super::layout::{MAX_COLUMNS, column_groups, depth_multiple};
use super::micro::Family;
use crate::error::{Error, Result};
use crate::matrix::MatRef;

/// Lays out the rows of `x` (one activation vector each) for `family`, group after group, in `packed`. `packed` grows
/// to fit and keeps its memory from call to call.
pub(crate) fn pack_activations(family: &Family, x: MatRef<'_, i8>, packed: &mut Vec<i8>) -> Result<()> {
    let (m, k) = x.shape();
    let depth = k.next_multiple_of(depth_multiple(family.format));
    let Some(len) = depth.checked_mul(m) else { return Err(Error::TooLarge { what: "activations", rows: m, cols: k }) };
    if packed.len() < len {
        packed.try_reserve_exact(len - packed.len()).map_err(|_| Error::Allocation { bytes: len })?;
        packed.resize(len, 0);
    }
    let interleave = match family.layout.activation_run {
        8 => interleave::<8>,
        16 => interleave::<16>,
        run => unreachable!("no layout has runs of {run} activations"),
    };
    if m <= MAX_COLUMNS {
        interleave(x, 0..m, depth, &mut packed[..len]);
    } else {
        for group in column_groups(m) {
            let packed = &mut packed[group.start * depth..][..group.len() * depth];
            interleave(x, group, depth, packed);
        }
    }
    Ok(())
}

/// Fills `packed` as `[depth / RUN][columns][RUN]`.
fn interleave<const RUN: usize>(x: MatRef<'_, i8>, group: Range<usize>, depth: usize, packed: &mut [i8]) {
    let columns = group.len();
    let (runs, _) = packed.as_chunks_mut::<RUN>();
    assert!(runs.len() == columns * (depth / RUN) && x.cols() <= depth);
    for (column, row) in group.enumerate() {
        let (whole, tail) = x.row(row).as_chunks::<RUN>();
        let mut place = runs.as_mut_ptr().wrapping_add(column);
        // SAFETY: it writes the column's places, of which there is one for each run of the depth: first the runs of `x`,
        // which are no deeper, then zeros.
        let mut put = |run: &[i8; RUN]| unsafe {
            place.write(*run);
            place = place.wrapping_add(columns);
        };
        let (fours, rest) = whole.as_chunks::<4>();
        fours.iter().for_each(|four| four.iter().for_each(&mut put));
        rest.iter().for_each(&mut put);
        let mut places = whole.len();
        if places < depth / RUN {
            put(&padded(tail));
            places += 1;
        }
        (places..depth / RUN).for_each(|_| put(&[0; RUN]));
    }
}

/// Fewer than `RUN` values, followed by zeros. Its copies have constant sizes, so they are loads and stores: a call of
/// `memcpy` takes longer than they do.
#[inline]
fn padded<const RUN: usize>(mut values: &[i8]) -> [i8; RUN] {
    debug_assert!(values.len() < RUN && RUN <= 16);
    let mut run = [0; RUN];
    let mut rest = &mut run[..];
    copy_if::<8>(&mut values, &mut rest);
    copy_if::<4>(&mut values, &mut rest);
    copy_if::<2>(&mut values, &mut rest);
    copy_if::<1>(&mut values, &mut rest);
    run
}

/// Copies `N` values and steps over them, if there are so many.
#[inline(always)]
fn copy_if<const N: usize>(values: &mut &[i8], places: &mut &mut [i8]) {
    if let (Some((first, values_left)), Some(_)) = (values.split_first_chunk::<N>(), places.first_chunk::<N>()) {
        let (place, left) = core::mem::take(places).split_at_mut(N);
        place.copy_from_slice(first);
        (*values, *places) = (values_left, left);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::format::GROUP;
    use crate::kernels::registry::families;

    #[test]
    fn stale_activations_do_not_survive_in_the_padding() {
        let mut packed = vec![77i8; 64];
        let x = [1i8, 2, 3];
        for family in families() {
            packed.fill(77);
            pack_activations(family, MatRef::row_vector(&x), &mut packed).unwrap();
            let mut expected = [0i8; GROUP];
            expected[..3].copy_from_slice(&x);
            let depth = depth_multiple(family.format);
            assert_eq!(packed[..depth], expected[..depth]);
        }
    }
}
