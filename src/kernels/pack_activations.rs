//! Packed activations: a batch in the layout of one tier's kernels ([`layout`](super::layout)).

use alloc::vec::Vec;
use core::ops::Range;

use super::layout::{STEP, column_groups, depth_multiple};
use super::micro::Family;
use crate::error::{Error, Result};
use crate::matrix::MatRef;

/// Lays out the rows of `x` (one activation vector each) for `family`, group after group, in `packed`. `packed` grows
/// to fit and keeps its memory from call to call.
pub(crate) fn pack_activations(family: &Family, x: MatRef<'_, i8>, packed: &mut Vec<i8>) -> Result<()> {
    let (m, k) = x.shape();
    let depth = k.next_multiple_of(depth_multiple(family.format));
    let len = depth.checked_mul(m).ok_or(Error::TooLarge { what: "activations", rows: m, cols: k })?;
    if packed.len() < len {
        packed.try_reserve_exact(len - packed.len()).map_err(|_| Error::Allocation { bytes: len })?;
        packed.resize(len, 0);
    }
    for group in column_groups(m) {
        let columns = group.len();
        let packed = &mut packed[group.start * depth..][..columns * depth];
        match family.layout.activation_run {
            8 => interleave::<8>(x, group, packed),
            16 => interleave::<16>(x, group, packed),
            run => unreachable!("no layout has runs of {run} activations"),
        }
    }
    Ok(())
}

/// Fills `packed` as `[depth / RUN][columns][RUN]`. A step is one run of 16 or two runs of 8.
fn interleave<const RUN: usize>(x: MatRef<'_, i8>, group: Range<usize>, packed: &mut [i8]) {
    let columns = group.len();
    let (runs, _) = packed.as_chunks_mut::<RUN>();
    let runs_per_step = columns * (STEP / RUN);
    for (column, row) in group.enumerate() {
        let (whole, tail) = x.row(row).as_chunks::<STEP>();
        let mut places = runs.chunks_exact_mut(runs_per_step);
        for (step, place) in whole.iter().zip(&mut places) {
            for (half, run) in step.as_chunks::<RUN>().0.iter().enumerate() {
                place[half * columns + column] = *run;
            }
        }
        for (i, place) in places.enumerate() {
            let mut step = [0; STEP];
            if i == 0 {
                step[..tail.len()].copy_from_slice(tail);
            }
            for (half, run) in step.as_chunks::<RUN>().0.iter().enumerate() {
                place[half * columns + column] = *run;
            }
        }
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
