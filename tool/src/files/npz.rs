//! NumPy's `.npz`: a zip archive of `.npy` files, stored or deflated.

use std::io::Read;

use flate2::{Crc, read::DeflateDecoder};

use super::{Array, Named, npy};

/// The most bytes that deflate can make of one, rounded up. A header that announces more is wrong.
const EXPANSION: usize = 1040;

/// Reads the little-endian numbers of an archive one by one.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn u16(&mut self) -> Option<usize> {
        self.bytes(2).map(|bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from(self.u32()?) | u64::from(self.u32()?) << 32)
    }
}

/// An entry of the archive's directory.
struct Entry {
    name: String,
    method: usize,
    crc: u32,
    packed: u64,
    size: u64,
    /// Where its local header begins.
    offset: u64,
}

/// The arrays of an archive, by their names without `.npy`.
pub fn decode(bytes: &[u8]) -> Result<Named, String> {
    let damaged = "is not a .npz file, or is damaged: it has no zip directory";
    let entries = directory(bytes).ok_or(damaged)?;
    // Small archives can unpack to terabytes if their entries share data, so that is refused.
    let packed = entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.packed));
    if packed.is_none_or(|packed| packed > bytes.len() as u64) {
        return Err(damaged.into());
    }
    let mut arrays = Named::new();
    for entry in entries {
        let name = entry.name.strip_suffix(".npy").unwrap_or(&entry.name).to_owned();
        let array = entry.data(bytes).and_then(|data| npy::decode(&data));
        arrays.push((name.clone(), array.map_err(|cause| format!("{name}: {cause}"))?));
    }
    if arrays.is_empty() { Err("holds no arrays".into()) } else { Ok(arrays) }
}

/// The directory at the end of an archive.
fn directory(bytes: &[u8]) -> Option<Vec<Entry>> {
    // A record of 22 bytes follows the directory and says where it is. A comment may follow the record.
    let last = bytes.len().checked_sub(22)?;
    let end = (last.saturating_sub(0xffff)..=last).rev().find(|&at| bytes[at..].starts_with(b"PK\x05\x06"))?;
    let mut fields = Fields(&bytes[end + 10..]);
    let (count, _, offset) = (fields.u16()?, fields.u32()?, fields.u32()?);
    let mut fields = Fields(bytes.get(offset as usize..)?);
    (0..count).map(|_| entry(&mut fields)).collect()
}

fn entry(fields: &mut Fields<'_>) -> Option<Entry> {
    (fields.bytes(4)? == b"PK\x01\x02").then_some(())?;
    fields.bytes(6)?;
    let method = fields.u16()?;
    fields.bytes(4)?;
    let (crc, packed, size) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (name, extra, comment) = (fields.u16()?, fields.u16()?, fields.u16()?);
    fields.bytes(8)?;
    let offset = fields.u32()?;
    let name = String::from_utf8(fields.bytes(name)?.to_vec()).ok()?;
    let extra = fields.bytes(extra)?;
    fields.bytes(comment)?;
    let [size, packed, offset] = wide([size, packed, offset], extra)?;
    Some(Entry { name, method, crc, packed, size, offset })
}

/// Reads the sizes and the offset from extra field 1 where they do not fit 32 bits. numpy puts some there that would
/// fit.
fn wide(narrow: [u32; 3], extra: &[u8]) -> Option<[u64; 3]> {
    let mut extra = Fields(extra);
    let mut zip64 = Fields(&[]);
    while let (Some(id), Some(len)) = (extra.u16(), extra.u16()) {
        let field = extra.bytes(len)?;
        if id == 1 {
            zip64 = Fields(field);
        }
    }
    let mut numbers = [0; 3];
    for (number, narrow) in numbers.iter_mut().zip(narrow) {
        *number = if narrow == u32::MAX { zip64.u64()? } else { narrow.into() };
    }
    Some(numbers)
}

impl Entry {
    /// The bytes of the file, unpacked and checked.
    fn data(&self, archive: &[u8]) -> Result<Vec<u8>, String> {
        let packed = self.packed(archive).ok_or("its data is not where the archive says")?;
        let size = usize::try_from(self.size).ok().filter(|&size| size / EXPANSION <= packed.len());
        let size = size.ok_or("announces more data than its bytes can hold")?;
        let data = match self.method {
            0 => packed.to_vec(),
            8 => {
                let mut data = Vec::new();
                let read = DeflateDecoder::new(packed).take(size as u64 + 1).read_to_end(&mut data);
                read.map_err(|cause| format!("cannot be unpacked: {cause}"))?;
                data
            }
            method => return Err(format!("is compressed by method {method}; save it with numpy.savez")),
        };
        let mut crc = Crc::new();
        crc.update(&data);
        if data.len() == size && crc.sum() == self.crc {
            Ok(data)
        } else {
            Err("is damaged: its checksum is wrong".into())
        }
    }

    fn packed<'a>(&self, archive: &'a [u8]) -> Option<&'a [u8]> {
        let mut fields = Fields(archive.get(usize::try_from(self.offset).ok()?..)?);
        (fields.bytes(4)? == b"PK\x03\x04").then_some(())?;
        fields.bytes(22)?;
        let (name, extra) = (fields.u16()?, fields.u16()?);
        fields.bytes(name + extra)?;
        fields.bytes(usize::try_from(self.packed).ok()?)
    }
}

/// An uncompressed archive of arrays, as `numpy.savez` writes it.
pub fn encode(arrays: &[(String, Array)]) -> Result<Vec<u8>, String> {
    let too_large = |_| "would be larger than 4 GiB; write .safetensors".to_owned();
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, array) in arrays {
        let (name, data) = (format!("{name}.npy"), npy::encode(array));
        let (offset, size) =
            (u32::try_from(bytes.len()).map_err(too_large)?, u32::try_from(data.len()).map_err(too_large)?);
        let mut crc = Crc::new();
        crc.update(&data);
        // Version 2.0, no flags, stored, 1980-01-01.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        for number in [crc.sum(), size, size, name.len() as u32] {
            common.extend(number.to_le_bytes());
        }
        // The last four bytes are the length of the name and the length of the extra fields, of which there are none.
        bytes.extend([b"PK\x03\x04", &common[..], name.as_bytes(), &data].concat());
        directory
            .extend([b"PK\x01\x02\x14\x00", &common[..], &[0; 10], &offset.to_le_bytes(), name.as_bytes()].concat());
    }
    let offset = u32::try_from(bytes.len()).map_err(too_large)?;
    let count = (arrays.len() as u16).to_le_bytes();
    let length = (directory.len() as u32).to_le_bytes();
    bytes.extend(directory);
    bytes.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &length, &offset.to_le_bytes(), &[0, 0]].concat());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrays() -> Named {
        let array = |shape: &[usize]| Array { shape: shape.to_vec(), values: vec![0.25; shape.iter().product()] };
        vec![("x".into(), array(&[3, 2])), ("gru.l0.h".into(), array(&[4]))]
    }

    /// `numpy.savez_compressed(f, x=numpy.arange(6, dtype=numpy.float32).reshape(2, 3))`, written by Python's zipfile.
    const DEFLATED: &[u8] = include_bytes!("../../tests/data/deflated.npz");

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(decode(&encode(&arrays()).unwrap()).unwrap(), arrays());
    }

    #[test]
    fn an_archive_of_numpy_is_read() {
        let expected = Array { shape: vec![2, 3], values: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0] };
        assert_eq!(decode(DEFLATED).unwrap(), [("x".to_string(), expected)]);
    }

    #[test]
    fn no_damage_goes_unnoticed_or_panics() {
        for archive in [encode(&arrays()).unwrap(), DEFLATED.to_vec()] {
            let whole = decode(&archive).unwrap();
            for end in 0..archive.len() {
                assert!(decode(&archive[..end]).is_err(), "{end}");
            }
            for at in 0..archive.len() {
                let mut damaged = archive.clone();
                damaged[at] ^= 0x5a;
                // Dates, versions and the like may be anything; numbers may not.
                if let Ok(arrays) = decode(&damaged) {
                    let values = |named: &Named| named.iter().map(|(_, array)| array.clone()).collect::<Vec<_>>();
                    assert!(values(&arrays).iter().all(|array| values(&whole).contains(array)), "{at}");
                }
            }
        }
    }
}
