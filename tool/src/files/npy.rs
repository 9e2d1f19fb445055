//! NumPy's `.npy`: the header is a Python dictionary, and the numbers follow it.

use half::f16;

use super::Array;
use crate::report::dimensions;

const MAGIC: &[u8] = b"\x93NUMPY";

/// NumPy's own limit.
const MOST_DIMENSIONS: usize = 64;

/// Reads an array of little-endian floats or small integers, in C or Fortran order.
pub fn decode(bytes: &[u8]) -> Result<Array, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("is not a .npy file: it does not begin with \\x93NUMPY")?;
    let truncated = "is truncated in its header";
    let (length, rest) = match rest {
        [1, _, low, high, rest @ ..] => (u32::from(u16::from_le_bytes([*low, *high])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]), rest),
        [major, ..] if !(1..=3).contains(major) => {
            return Err(format!("has version {major} of .npy; expected 1 to 3"));
        }
        _ => return Err(truncated.into()),
    };
    let (header, data) = rest.split_at_checked(length as usize).ok_or(truncated)?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is not text")?;
    let header = Header::parse(header).ok_or("its header is not understood; save the array with numpy.save")?;
    header.array(data)
}

struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (25, 13), }`, with the entries in any order.
    fn parse(text: &str) -> Option<Self> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{')?.trim_start();
        while !rest.starts_with('}') {
            let (key, value) = rest.strip_prefix('\'')?.split_once('\'')?;
            let value = value.trim_start().strip_prefix(':')?.trim_start();
            rest = match key {
                "descr" => {
                    let (value, rest) = value.strip_prefix('\'')?.split_once('\'')?;
                    descr = Some(value.to_owned());
                    rest
                }
                "fortran_order" => {
                    let found = [("True", true), ("False", false)];
                    let (rest, value) =
                        found.iter().find_map(|&(word, truth)| Some((value.strip_prefix(word)?, truth)))?;
                    fortran_order = Some(value);
                    rest
                }
                "shape" => {
                    let (value, rest) = value.strip_prefix('(')?.split_once(')')?;
                    let numbers = value.split(',').map(str::trim).filter(|number| !number.is_empty());
                    shape =
                        Some(numbers.map(|number| number.trim_end_matches('L').parse().ok()).collect::<Option<_>>()?);
                    rest
                }
                _ => return None,
            };
            rest = rest.trim_start().strip_prefix(',').unwrap_or(rest).trim_start();
        }
        (rest.trim() == "}").then_some(())?;
        let shape: Vec<usize> = shape.filter(|shape: &Vec<usize>| shape.len() <= MOST_DIMENSIONS)?;
        Some(Self { descr: descr?, fortran_order: fortran_order?, shape })
    }

    fn array(self, data: &[u8]) -> Result<Array, String> {
        let values = match self.descr.as_str() {
            "<f2" => self.values(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
            "<f4" => self.values(data, f32::from_le_bytes),
            "<f8" => self.values(data, |bytes| f64::from_le_bytes(bytes) as f32),
            "|i1" => self.values(data, |[byte]: [u8; 1]| f32::from(byte as i8)),
            "|u1" => self.values(data, |[byte]: [u8; 1]| f32::from(byte)),
            "<i2" => self.values(data, |bytes| f32::from(i16::from_le_bytes(bytes))),
            "<i4" => self.values(data, |bytes| i32::from_le_bytes(bytes) as f32),
            other => Err(format!("holds numbers of type `{other}`; save them as little-endian float32")),
        }?;
        let values = if self.fortran_order { by_rows(&values, &self.shape) } else { values };
        Ok(Array { shape: self.shape, values })
    }

    fn values<const N: usize>(&self, data: &[u8], number: impl Fn([u8; N]) -> f32) -> Result<Vec<f32>, String> {
        let wanted = self.shape.iter().try_fold(N, |product, &dimension| product.checked_mul(dimension));
        if wanted != Some(data.len()) {
            let shape = dimensions(&self.shape);
            return Err(format!("announces {shape} numbers of {N} bytes, but has {} bytes", data.len()));
        }
        Ok(data.as_chunks().0.iter().map(|&bytes| number(bytes)).collect())
    }
}

/// Reorders the numbers of an array from Fortran order to C order.
fn by_rows(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let mut index = vec![0; shape.len()];
    let mut ordered = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        let place = index.iter().zip(shape).rev().fold(0, |place, (&i, &dimension)| place * dimension + i);
        ordered.push(values[place]);
        for (i, &dimension) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < dimension {
                break;
            }
            *i = 0;
        }
    }
    ordered
}

/// Writes an array of `float32` as version 1.
pub fn encode(array: &Array) -> Vec<u8> {
    let mut shape = array.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    if array.shape.len() == 1 {
        shape.push(',');
    }
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}");
    // The data begins at a multiple of 64 bytes.
    let length = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 4;
    header.extend(std::iter::repeat_n(' ', length - 1 - header.len()));
    header.push('\n');
    let mut bytes = [MAGIC, &[1, 0], &(length as u16).to_le_bytes(), header.as_bytes()].concat();
    bytes.extend(array.values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        for shape in [&[2, 3][..], &[6], &[1, 2, 3], &[0, 4], &[]] {
            let len = shape.iter().product::<usize>();
            let array = Array { shape: shape.to_vec(), values: (0..len).map(|i| i as f32 - 2.5).collect() };
            let bytes = encode(&array);
            assert_eq!((bytes.len() - 4 * len) % 64, 0);
            assert_eq!(decode(&bytes).unwrap(), array);
            for end in 0..bytes.len() {
                assert!(decode(&bytes[..end]).is_err(), "{end}");
            }
        }
    }

    #[test]
    fn types_and_orders_of_numpy_are_read() {
        let header = |descr, order| format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': (2, 3), }}\n");
        let decoded = |descr, order, data: Vec<u8>| decode(&file(&header(descr, order), &data)).unwrap().values;
        let numbers = [1i8, 2, 3, 4, 5, -6];
        let expected = numbers.map(f32::from);
        assert_eq!(decoded("|i1", "False", numbers.map(|n| n as u8).to_vec()), expected);
        assert_eq!(
            decoded("<i2", "False", numbers.iter().flat_map(|&n| i16::from(n).to_le_bytes()).collect()),
            expected
        );
        assert_eq!(
            decoded("<i4", "False", numbers.iter().flat_map(|&n| i32::from(n).to_le_bytes()).collect()),
            expected
        );
        assert_eq!(
            decoded("<f8", "False", numbers.iter().flat_map(|&n| f64::from(n).to_le_bytes()).collect()),
            expected
        );
        let half = numbers.iter().flat_map(|&n| f16::from_f32(n.into()).to_le_bytes()).collect();
        assert_eq!(decoded("<f2", "False", half), expected);
        // Column by column.
        assert_eq!(decoded("|u1", "True", vec![1, 4, 2, 5, 3, 6]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let message = |header: &str, data: &[u8]| decode(&file(header, data)).unwrap_err();
        let of =
            |descr: &str, shape: &str| format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        assert!(message(&of(">f4", "(1,)"), &[0; 4]).contains("`>f4`"));
        assert!(message(&of("|O", "(1,)"), &[0; 4]).contains("`|O`"));
        assert!(message(&of("<f4", "(3, 2)"), &[0; 4]).contains("3 x 2 numbers of 4 bytes, but has 4"));
        assert!(message(&of("<f4", "(4611686018427387904, 4)"), &[0; 4]).contains("has 4 bytes"));
        for header in [
            "",
            "{}",
            "{'descr': '<f4'}",
            "{'shape': (1, }",
            "{'x': 1}",
            &of("<f4", "(-1,)"),
            &(of("<f4", "(1,)") + "x"),
        ] {
            assert!(message(header, &[0; 4]).contains("header"), "{header}");
        }
        assert!(decode(b"PK\x03\x04").unwrap_err().contains("not a .npy file"));
        assert!(decode(b"\x93NUMPY\x09\x00\x00\x00").unwrap_err().contains("version 9"));
    }
}
