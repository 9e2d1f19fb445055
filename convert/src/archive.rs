//! Zip archives, stored or deflated.

use std::borrow::Cow;
use std::io::Read;

use flate2::{Crc, read::DeflateDecoder};

use crate::cursor::Cursor;

/// The most bytes that deflate can make of one, rounded up. A header that announces more is wrong.
const EXPANSION: usize = 1040;

/// The directory of an archive.
#[derive(Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
    entries: Vec<Entry>,
}

/// An entry of the directory.
#[derive(Debug)]
struct Entry {
    name: String,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    /// Where its local header begins.
    offset: u64,
}

impl<'a> Archive<'a> {
    /// Reads the directory at the end of an archive. There is none if the archive is damaged or is something else.
    ///
    /// Small archives can unpack to terabytes if their entries share data, so that is taken for damage.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let entries = directory(bytes)?;
        let packed = entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.packed))?;
        (packed <= bytes.len() as u64).then_some(Self { bytes, entries })
    }

    /// The names of the files, in the archive's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The files and their names, in the archive's order.
    pub fn files(&self) -> impl Iterator<Item = (&str, Result<Cow<'a, [u8]>, String>)> {
        self.entries.iter().map(|entry| (entry.name.as_str(), entry.data(self.bytes)))
    }

    /// The bytes of a file, unpacked and checked, if the archive has it.
    pub fn file(&self, name: &str) -> Option<Result<Cow<'a, [u8]>, String>> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| entry.data(self.bytes))
    }
}

fn directory(bytes: &[u8]) -> Option<Vec<Entry>> {
    // A record of 22 bytes follows the directory and says where it is. A comment may follow the record.
    let last = bytes.len().checked_sub(22)?;
    let end = (last.saturating_sub(0xffff)..=last).rev().find(|&at| bytes[at..].starts_with(b"PK\x05\x06"))?;
    let mut fields = Cursor(&bytes[end + 10..]);
    let (count, _, offset) = (fields.u16()?, fields.u32()?, fields.u32()?);
    let (count, offset) = match (count, offset) {
        (u16::MAX, _) | (_, u32::MAX) => wide_end(bytes, end)?,
        _ => (count.into(), offset.into()),
    };
    let mut fields = Cursor(bytes.get(usize::try_from(offset).ok()?..)?);
    (0..count).map(|_| entry(&mut fields)).collect()
}

/// The number of entries and the offset of the directory, from the record that has 64 bits for them.
fn wide_end(bytes: &[u8], end: usize) -> Option<(u64, u64)> {
    let mut locator = Cursor(bytes.get(end.checked_sub(20)?..)?);
    (locator.array()? == *b"PK\x06\x07").then_some(())?;
    locator.bytes(4)?;
    let mut record = Cursor(bytes.get(usize::try_from(locator.u64()?).ok()?..)?);
    (record.array()? == *b"PK\x06\x06").then_some(())?;
    record.bytes(28)?;
    let (count, _, offset) = (record.u64()?, record.u64()?, record.u64()?);
    Some((count, offset))
}

fn entry(fields: &mut Cursor<'_>) -> Option<Entry> {
    (fields.array()? == *b"PK\x01\x02").then_some(())?;
    fields.bytes(6)?;
    let method = fields.u16()?;
    fields.bytes(4)?;
    let (crc, packed, size) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (name, extra, comment) = (fields.u16()?, fields.u16()?, fields.u16()?);
    fields.bytes(8)?;
    let offset = fields.u32()?;
    let name = String::from_utf8(fields.bytes(name.into())?.to_vec()).ok()?;
    let extra = fields.bytes(extra.into())?;
    fields.bytes(comment.into())?;
    let [size, packed, offset] = wide([size, packed, offset], extra)?;
    Some(Entry { name, method, crc, packed, size, offset })
}

/// Reads the sizes and the offset from extra field 1 where they do not fit 32 bits. numpy puts some there that would
/// fit.
fn wide(narrow: [u32; 3], extra: &[u8]) -> Option<[u64; 3]> {
    let mut extra = Cursor(extra);
    let mut zip64 = Cursor(&[]);
    while let (Some(id), Some(len)) = (extra.u16(), extra.u16()) {
        let field = extra.bytes(len.into())?;
        if id == 1 {
            zip64 = Cursor(field);
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
    fn data<'a>(&self, archive: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        let packed = self.packed(archive).ok_or("its data is not where the archive says")?;
        let size = usize::try_from(self.size).ok().filter(|&size| size / EXPANSION <= packed.len());
        let size = size.ok_or("announces more data than its bytes can hold")?;
        let data = match self.method {
            0 => Cow::Borrowed(packed),
            8 => {
                let mut data = Vec::new();
                let read = DeflateDecoder::new(packed).take(size as u64 + 1).read_to_end(&mut data);
                read.map_err(|cause| format!("cannot be unpacked: {cause}"))?;
                Cow::Owned(data)
            }
            method => return Err(format!("is compressed by method {method}; only stored and deflated files are read")),
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
        let mut fields = Cursor(archive.get(usize::try_from(self.offset).ok()?..)?);
        (fields.array()? == *b"PK\x03\x04").then_some(())?;
        fields.bytes(22)?;
        let (name, extra) = (fields.u16()?, fields.u16()?);
        fields.bytes(usize::from(name) + usize::from(extra))?;
        fields.bytes(usize::try_from(self.packed).ok()?)
    }
}

/// An uncompressed archive.
///
/// # Errors
/// A sentence, if the archive would exceed the 4 GiB or the 65,535 files that fit its format.
pub fn encode(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, String> {
    let too_large = |_| "would be larger than 4 GiB; write .safetensors".to_owned();
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in files {
        let (offset, size) =
            (u32::try_from(bytes.len()).map_err(too_large)?, u32::try_from(data.len()).map_err(too_large)?);
        let mut crc = Crc::new();
        crc.update(data);
        // Version 2.0, no flags, stored, 1980-01-01.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        for number in [crc.sum(), size, size, name.len() as u32] {
            common.extend(number.to_le_bytes());
        }
        // The last four bytes are the length of the name and the length of the extra fields, of which there are none.
        bytes.extend([b"PK\x03\x04", &common[..], name.as_bytes(), data].concat());
        directory
            .extend([b"PK\x01\x02\x14\x00", &common[..], &[0; 10], &offset.to_le_bytes(), name.as_bytes()].concat());
    }
    let offset = u32::try_from(bytes.len()).map_err(too_large)?;
    let count = u16::try_from(files.len()).map_err(too_large)?.to_le_bytes();
    let length = u32::try_from(directory.len()).map_err(too_large)?.to_le_bytes();
    bytes.extend(directory);
    bytes.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &length, &offset.to_le_bytes(), &[0, 0]].concat());
    Ok(bytes)
}
