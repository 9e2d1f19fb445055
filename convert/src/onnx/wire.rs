//! The wire format of protocol buffers: fields with numbers, each a number or bytes with a length.

use crate::cursor::Cursor;

/// What a field holds. Bytes are text, packed numbers or a message, as its number says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
}

/// The fields of a message in their order, each with its number. Damage is an error, after which there are no more.
pub(super) struct Fields<'a>(Cursor<'a>);

/// The message is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

impl<'a> Fields<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self(Cursor(message))
    }

    fn field(&mut self) -> Result<(u64, Field<'a>), Damaged> {
        let key = varint(&mut self.0)?;
        let value = match key & 7 {
            0 => Field::Varint(varint(&mut self.0)?),
            1 => Field::Fixed64(self.0.array().ok_or(Damaged)?),
            2 => {
                let len = usize::try_from(varint(&mut self.0)?).map_err(|_| Damaged)?;
                Field::Bytes(self.0.bytes(len).ok_or(Damaged)?)
            }
            5 => Field::Fixed32(self.0.array().ok_or(Damaged)?),
            // Groups, which ONNX does not have.
            _ => return Err(Damaged),
        };
        Ok((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = Cursor(&[]);
        }
        Some(field)
    }
}

/// A number of up to 64 bits, 7 in a byte, the lowest first.
fn varint(cursor: &mut Cursor<'_>) -> Result<u64, Damaged> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = cursor.u8().ok_or(Damaged)?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return Err(Damaged);
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Damaged)
}

impl<'a> Field<'a> {
    pub fn bytes(self) -> Result<&'a [u8], Damaged> {
        if let Field::Bytes(bytes) = self { Ok(bytes) } else { Err(Damaged) }
    }

    pub fn text(self) -> Result<String, Damaged> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }

    pub fn integer(self) -> Result<i64, Damaged> {
        if let Field::Varint(value) = self { Ok(value.cast_signed()) } else { Err(Damaged) }
    }

    pub fn float(self) -> Result<f32, Damaged> {
        if let Field::Fixed32(bytes) = self { Ok(f32::from_le_bytes(bytes)) } else { Err(Damaged) }
    }

    /// Adds the integers of a repeated field, packed or one by one.
    pub fn integers(self, out: &mut Vec<i64>) -> Result<(), Damaged> {
        match self {
            Field::Varint(value) => out.push(value.cast_signed()),
            Field::Bytes(bytes) => {
                let mut cursor = Cursor(bytes);
                while !cursor.0.is_empty() {
                    out.push(varint(&mut cursor)?.cast_signed());
                }
            }
            _ => return Err(Damaged),
        }
        Ok(())
    }

    /// Adds the floats of a repeated field, packed or one by one.
    pub fn floats(self, out: &mut Vec<f32>) -> Result<(), Damaged> {
        match self {
            Field::Fixed32(bytes) => out.push(f32::from_le_bytes(bytes)),
            Field::Fixed64(bytes) => out.push(f64::from_le_bytes(bytes) as f32),
            Field::Bytes(_) | Field::Varint(_) => {
                let (numbers, []) = self.bytes()?.as_chunks() else { return Err(Damaged) };
                out.extend(numbers.iter().map(|&number| f32::from_le_bytes(number)));
            }
        }
        Ok(())
    }

    /// Adds the doubles of a repeated field, packed or one by one, rounded.
    pub fn doubles(self, out: &mut Vec<f32>) -> Result<(), Damaged> {
        let Field::Bytes(bytes) = self else { return self.floats(out) };
        let (numbers, []) = bytes.as_chunks() else { return Err(Damaged) };
        out.extend(numbers.iter().map(|&number| f64::from_le_bytes(number) as f32));
        Ok(())
    }
}
