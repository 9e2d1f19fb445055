//! NumPy's `.npy`: the header is a Python dictionary, and the numbers follow it.

use safetensors::Dtype;

use crate::cursor::Cursor;
use crate::tensor::Tensor;

const MAGIC: &[u8] = b"\x93NUMPY";

/// NumPy's own limit.
const MOST_DIMENSIONS: usize = 64;

/// Reads an array of little-endian numbers, in C or Fortran order.
///
/// # Errors
/// A sentence that says what is wrong with the file.
pub fn decode(bytes: &[u8]) -> Result<Tensor, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("is not a .npy file: it does not begin with \\x93NUMPY")?;
    let truncated = "is truncated in its header";
    let mut cursor = Cursor(rest);
    let length = match cursor.array() {
        Some([1, _]) => cursor.u16().map(u32::from),
        Some([2 | 3, _]) => cursor.u32(),
        Some([major, _]) => return Err(format!("has version {major} of .npy; expected 1 to 3")),
        None => None,
    };
    let header = length.and_then(|length| cursor.bytes(length as usize)).ok_or(truncated)?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is not text")?;
    let header = Header::parse(header).ok_or("its header is not understood; save the array with numpy.save")?;
    header.tensor(cursor.0)
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

    fn tensor(self, data: &[u8]) -> Result<Tensor, String> {
        let (dtype, size) = match self.descr.as_str() {
            "<f8" => (Dtype::F64, 8),
            "<f4" => (Dtype::F32, 4),
            "<f2" => (Dtype::F16, 2),
            "<i8" => (Dtype::I64, 8),
            "<i4" => (Dtype::I32, 4),
            "<i2" => (Dtype::I16, 2),
            "|i1" => (Dtype::I8, 1),
            "<u8" => (Dtype::U64, 8),
            "<u4" => (Dtype::U32, 4),
            "<u2" => (Dtype::U16, 2),
            "|u1" => (Dtype::U8, 1),
            "|b1" => (Dtype::BOOL, 1),
            other => return Err(format!("holds elements of type `{other}`; save them as little-endian float32")),
        };
        let wanted = self.shape.iter().try_fold(size, |product: usize, &dimension| product.checked_mul(dimension));
        if wanted != Some(data.len()) {
            let shape = self.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
            return Err(format!("announces {shape} elements of {size} bytes, but has {} bytes", data.len()));
        }
        let bytes = if self.fortran_order { by_rows(data, size, &self.shape) } else { data.to_vec() };
        Ok(Tensor { dtype, shape: self.shape, bytes })
    }
}

/// Reorders the elements of an array, of `size` bytes each, from Fortran order to C order.
fn by_rows(data: &[u8], size: usize, shape: &[usize]) -> Vec<u8> {
    let mut index = vec![0; shape.len()];
    let mut ordered = Vec::with_capacity(data.len());
    for _ in 0..data.len() / size {
        let place = index.iter().zip(shape).rev().fold(0, |place, (&i, &dimension)| place * dimension + i);
        ordered.extend_from_slice(&data[place * size..][..size]);
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
pub fn encode(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let dimensions = shape.len();
    let mut shape = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    if dimensions == 1 {
        shape.push(',');
    }
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}");
    // The data begins at a multiple of 64 bytes.
    let length = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 4;
    header.extend(std::iter::repeat_n(' ', length - 1 - header.len()));
    header.push('\n');
    let mut bytes = [MAGIC, &[1, 0], &(length as u16).to_le_bytes(), header.as_bytes()].concat();
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
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
            let values: Vec<f32> = (0..len).map(|i| i as f32 - 2.5).collect();
            let bytes = encode(shape, &values);
            assert_eq!((bytes.len() - 4 * len) % 64, 0);
            assert_eq!(decode(&bytes).unwrap(), Tensor::from_f32(shape.to_vec(), &values));
            for end in 0..bytes.len() {
                assert!(decode(&bytes[..end]).is_err(), "{end}");
            }
        }
    }

    #[test]
    fn types_and_orders_of_numpy_are_read() {
        fn bytes<const N: usize>(numbers: [i8; 6], bytes: impl Fn(i8) -> [u8; N]) -> Vec<u8> {
            numbers.iter().flat_map(|&number| bytes(number)).collect()
        }
        let header = |descr, order| format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': (2, 3), }}\n");
        let decoded =
            |descr, order, data: Vec<u8>| decode(&file(&header(descr, order), &data)).unwrap().to_f32().unwrap();
        let numbers = [1i8, 2, 3, 4, 5, -6];
        let expected = numbers.map(f32::from);
        assert_eq!(decoded("|i1", "False", bytes(numbers, |n| [n as u8])), expected);
        assert_eq!(decoded("<i2", "False", bytes(numbers, |n| i16::from(n).to_le_bytes())), expected);
        assert_eq!(decoded("<i4", "False", bytes(numbers, |n| i32::from(n).to_le_bytes())), expected);
        assert_eq!(decoded("<i8", "False", bytes(numbers, |n| i64::from(n).to_le_bytes())), expected);
        assert_eq!(decoded("<f8", "False", bytes(numbers, |n| f64::from(n).to_le_bytes())), expected);
        assert_eq!(decoded("<f2", "False", bytes(numbers, |n| half::f16::from_f32(n.into()).to_le_bytes())), expected);
        // Column by column.
        assert_eq!(decoded("|u1", "True", vec![1, 4, 2, 5, 3, 6]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(decoded("<u2", "True", vec![1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6, 1]), [1.0, 2.0, 3.0, 4.0, 5.0, 262.0]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let message = |header: &str, data: &[u8]| decode(&file(header, data)).unwrap_err();
        let of =
            |descr: &str, shape: &str| format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        assert!(message(&of(">f4", "(1,)"), &[0; 4]).contains("`>f4`"));
        assert!(message(&of("|O", "(1,)"), &[0; 4]).contains("`|O`"));
        assert!(message(&of("<f4", "(3, 2)"), &[0; 4]).contains("3 x 2 elements of 4 bytes, but has 4"));
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
