//! Unsigned products of any arguments, against a naive oracle, for the tests and the fuzz target.

use skinny::kernels::Sums;
use skinny::kernels::{UnsignedMat, UnsignedWorkspace};
use skinny::{MatMut, MatRef, Tier};

use crate::bytes::Bytes;

/// Reads a product from `data` and runs it on every tier.
pub fn multiply_unsigned(data: &[u8]) {
    let bytes = &mut Bytes::new(data);
    let (n, m, k) = (bytes.below(70), bytes.below(24), bytes.below(140));
    let wrong = bytes.byte();
    let depth = k + usize::from(wrong == 1);
    let mut offset = || match bytes.byte() % 8 {
        0 => bytes.i32(),
        1 => -32768,
        2 => 32512,
        3 => 0,
        4 => 32513,
        _ => bytes.i32() % 32512,
    };
    let (a, b) = (offset(), offset());
    let (lhs, rhs) = (bytes.cycle(n * k), bytes.cycle(m * depth));
    let in_range = |offset: i32| (-32768..=32512).contains(&offset);

    let mut workspace = UnsignedWorkspace::new();
    for &tier in Tier::available() {
        let mat = UnsignedMat::pack(MatRef::new(&lhs, n, k).unwrap(), tier).unwrap();
        let mut out = vec![7; m * n];
        let rhs_view = MatRef::new(&rhs, m, depth).unwrap();
        let done = mat.multiply(a, rhs_view, b, &Sums, MatMut::new(&mut out, m, n).unwrap(), &mut workspace);
        assert_eq!(done.is_ok(), in_range(a) && in_range(b) && depth == k, "{done:?}");
        for (i, &y) in out.iter().enumerate() {
            let term = |d: usize| {
                (i64::from(lhs[i % n * k + d]) + i64::from(a)) * (i64::from(rhs[i / n * k + d]) + i64::from(b))
            };
            // At most 140 terms of 2^32: no overflow.
            let expected = if done.is_ok() { (0..k).map(term).sum::<i64>() as i32 } else { 7 };
            assert_eq!(y, expected, "{tier}, {a} {b}, element {i}");
        }
    }
}
