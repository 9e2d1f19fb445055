//! Numbers as text, one row per line, as `numpy.savetxt` and spreadsheets write them. Commas, semicolons, tabs or
//! blanks separate the numbers.

use super::Array;

/// Reads rows that all have the same length. Blank lines and lines that begin with `#` are ignored. The first line may
/// name the columns.
pub fn decode(bytes: &[u8]) -> Result<Array, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not text")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let (mut values, mut width, mut rows) = (Vec::new(), None, 0);
    for (i, (number, line)) in lines.enumerate() {
        let fields: Vec<&str> = fields(line);
        if i == 0 && fields.iter().all(|field| field.parse::<f32>().is_err()) {
            // The names of the columns.
            width = Some(fields.len());
            continue;
        }
        let line = number + 1;
        let expected = *width.get_or_insert(fields.len());
        if fields.len() != expected {
            return Err(format!("line {line}: expected {expected} numbers, found {}", fields.len()));
        }
        for field in fields {
            values.push(field.parse().map_err(|_| format!("line {line}: `{field}` is not a number"))?);
        }
        rows += 1;
    }
    if rows == 0 {
        return Err("holds no numbers".into());
    }
    Ok(Array { shape: vec![rows, width.unwrap_or(0)], values })
}

fn fields(line: &str) -> Vec<&str> {
    match [',', ';', '\t'].into_iter().find(|&separator| line.contains(separator)) {
        Some(separator) => line.split(separator).map(str::trim).collect(),
        None => line.split_whitespace().collect(),
    }
}

/// Writes one line per row. Each number has just enough digits to distinguish it from all other floats.
pub fn encode(array: &Array) -> String {
    let width = array.shape.last().copied().unwrap_or(1).max(1);
    let row = |row: &[f32]| row.iter().map(f32::to_string).collect::<Vec<_>>().join(",") + "\n";
    array.values.chunks(width).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_to_the_bit() {
        let array =
            Array { shape: vec![2, 3], values: vec![0.1, -1.0e-20, 3.0e38, f32::MIN_POSITIVE, 1.0 / 3.0, -0.0] };
        let again = decode(encode(&array).as_bytes()).unwrap();
        assert_eq!(again.values.map_bits(), array.values.map_bits());
        assert_eq!(again.shape, array.shape);
    }

    trait Bits {
        fn map_bits(&self) -> Vec<u32>;
    }

    impl Bits for Vec<f32> {
        fn map_bits(&self) -> Vec<u32> {
            self.iter().map(|value| value.to_bits()).collect()
        }
    }

    #[test]
    fn what_others_write_is_read() {
        for text in ["1,2\n3,4\n", "# of numpy\n1 2\n3 4", "\u{feff}a;b\r\n1;2\r\n\r\n3; 4\r\n", "1.0e0\t2\n3\t+4\n"] {
            assert_eq!(
                decode(text.as_bytes()).unwrap(),
                Array { shape: vec![2, 2], values: vec![1.0, 2.0, 3.0, 4.0] },
                "{text}"
            );
        }
        for (text, message) in [
            ("1,2\n3\n", "line 2: expected 2 numbers, found 1"),
            ("1,2\n\n3,x\n", "line 3: `x` is not a number"),
            ("1,2\n3,\n", "line 2: `` is not a number"),
            ("a,b\n", "holds no numbers"),
            ("", "holds no numbers"),
        ] {
            assert_eq!(decode(text.as_bytes()).unwrap_err(), message, "{text}");
        }
        assert_eq!(decode(b"\xff\xfe").unwrap_err(), "is not text");
    }
}
