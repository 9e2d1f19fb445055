//! Unsigned products against a naive version of farm's and gemmlowp's 8-bit interface.

use proptest::prelude::*;
use skinny::kernels::{MAX_DEPTH_ZERO_POINT, Requantize, Shift, Sums};
use skinny::kernels::{UnsignedMat, UnsignedWorkspace};
use skinny::{Error, MatMut, MatRef, Tier};

/// The sums modulo `2^32`, `m x n`, from the definition in wide integers.
fn oracle(lhs: &[u8], rhs: &[u8], (m, n, k): (usize, usize, usize), offsets: (i32, i32)) -> Vec<i32> {
    let mut sums = Vec::new();
    for i in 0..m {
        for j in 0..n {
            let term = |d: usize| {
                (i128::from(lhs[j * k + d]) + i128::from(offsets.0))
                    * (i128::from(rhs[i * k + d]) + i128::from(offsets.1))
            };
            sums.push((0..k).map(term).sum::<i128>() as i32);
        }
    }
    sums
}

/// gemmlowp's `QuantizeDownInt32ToUint8Scale`, from its description.
fn quantize_down(sum: i32, offset: i32, multiplier: i32, shift: u32) -> u8 {
    let t = i128::from(sum.wrapping_add(offset).wrapping_mul(multiplier));
    let rounding = if shift > 0 { 1i128 << (shift - 1) } else { 0 };
    ((t + rounding) >> shift).clamp(0, 255) as u8
}

fn check(lhs: &[u8], rhs: &[u8], shape: (usize, usize, usize), offsets: (i32, i32), shift: Shift) {
    let (m, n, k) = shape;
    let expected = oracle(lhs, rhs, shape, offsets);
    let mut workspace = UnsignedWorkspace::new();
    for &tier in Tier::available() {
        let mat = UnsignedMat::pack(MatRef::new(lhs, n, k).unwrap(), tier).unwrap();
        assert_eq!((mat.n(), mat.k()), (n, k));
        let rhs = MatRef::new(rhs, m, k).unwrap();
        let mut sums = vec![-1; m * n];
        let out = MatMut::new(&mut sums, m, n).unwrap();
        mat.multiply(offsets.0, rhs, offsets.1, &Sums, out, &mut workspace).unwrap();
        assert_eq!(sums, expected, "{tier} {shape:?} {offsets:?}");
        let mut bytes = vec![7u8; m * n];
        let out = MatMut::new(&mut bytes, m, n).unwrap();
        mat.multiply(offsets.0, rhs, offsets.1, &Requantize::new(shift), out, &mut workspace).unwrap();
        let Shift { offset, multiplier, shift } = shift;
        let expected: Vec<u8> = expected.iter().map(|&sum| quantize_down(sum, offset, multiplier, shift)).collect();
        assert_eq!(bytes, expected, "{tier} {shape:?} {offsets:?}");
    }
}

#[test]
fn small_shapes_and_extreme_offsets() {
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Often 0 and 255, which become -128 and 127.
        match state >> 28 {
            0..=3 => 0,
            4..=6 => 255,
            _ => (state >> 20) as u8,
        }
    };
    for m in [0, 1, 2, 3, 10, 11] {
        for n in [0, 1, 5, 33] {
            for k in [0, 1, 15, 16, 17, 50] {
                let lhs: Vec<u8> = (0..n * k).map(|_| random()).collect();
                let rhs: Vec<u8> = (0..m * k).map(|_| random()).collect();
                for offsets in [(0, 0), (-128, -128), (-32768, 32512), (32512, 32512), (-255, 7)] {
                    let shift = Shift { offset: -50, multiplier: 77, shift: 12 };
                    check(&lhs, &rhs, (m, n, k), offsets, shift);
                }
            }
        }
    }
}

/// Offsets at their limits, and where a factor or a byte changes its sign.
#[test]
fn every_pair_of_bytes_is_exact() {
    let bytes: Vec<u8> = (0..=255).collect();
    let shift = Shift { offset: 1 << 20, multiplier: 3, shift: 17 };
    for lhs_offset in [-32768, -255, -128, 0, 32512] {
        for rhs_offset in [-32768, -129, -127, 1, 32512] {
            check(&bytes, &bytes, (256, 256, 1), (lhs_offset, rhs_offset), shift);
        }
    }
}

/// Sums that wrap many times over, and all pairs of the bytes at the ends.
#[test]
fn the_greatest_depth_is_exact_modulo_2_to_the_32() {
    let k = MAX_DEPTH_ZERO_POINT;
    for (l, r) in [(0u8, 0u8), (0, 255), (255, 0), (255, 255)] {
        for offsets in [(0, 0), (-128, -128), (-32768, -32768), (-32768, 32512), (32512, 32512)] {
            let shift = Shift { offset: i32::MAX, multiplier: i32::MIN + 1, shift: 31 };
            check(&vec![l; k], &vec![r; 2 * k], (2, 1, k), offsets, shift);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_operands(
        m in 1usize..12, n in 1usize..80, k in 1usize..150, seed in any::<u64>(),
        offsets in (-32768i32..=32512, -32768i32..=32512),
        offset in any::<i32>(), multiplier in any::<i32>(), shift in 0u32..32,
    ) {
        let byte = |i: usize| (seed.wrapping_mul(2 * i as u64 + 1) >> 40) as u8;
        let lhs: Vec<u8> = (0..n * k).map(byte).collect();
        let rhs: Vec<u8> = (0..m * k).map(|i| byte(i + 7)).collect();
        check(&lhs, &rhs, (m, n, k), offsets, Shift { offset, multiplier, shift });
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let mat = UnsignedMat::pack(MatRef::new(&[1; 6], 2, 3).unwrap(), Tier::Portable).unwrap();
    let (mut out, mut workspace) = ([9; 2], UnsignedWorkspace::new());
    let mut multiply = |lhs_offset, rhs: &[u8], rhs_offset| {
        let out = MatMut::row_vector(&mut out);
        mat.multiply(lhs_offset, MatRef::row_vector(rhs), rhs_offset, &Sums, out, &mut workspace)
    };
    let range = "in -32768..=32512";
    assert_eq!(
        multiply(32513, &[1; 3], 0),
        Err(Error::Parameter { what: "lhs_offset", value: 32513.0, expected: range })
    );
    assert_eq!(
        multiply(0, &[1; 3], -32769),
        Err(Error::Parameter { what: "rhs_offset", value: -32769.0, expected: range })
    );
    assert_eq!(multiply(0, &[1; 4], 0), Err(Error::Shape { what: "right-hand side", expected: (1, 3), found: (1, 4) }));
    assert!(multiply(i32::MAX, &[1; 3], i32::MIN).is_err());
    assert_eq!(out, [9; 2]);
    let deep = vec![0u8; 70_000];
    let mat = UnsignedMat::pack(MatRef::row_vector(&deep), Tier::Portable).unwrap();
    let result = mat.multiply(0, MatRef::row_vector(&deep), 0, &Sums, MatMut::row_vector(&mut [0]), &mut workspace);
    assert_eq!(result, Err(Error::Depth { k: 70_000, max: 65_793 }));
}
