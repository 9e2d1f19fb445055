//! What a pickle and its storages lie in: a zip archive since PyTorch 1.6, one pickle after the other before.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::pickle::{self, Value};
use super::view;
use crate::archive::Archive;
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::format::Format;

/// The pickles that old files begin with: torch.save's number, and the version of its format.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
const VERSION: &[u8] = b"\x80\x02M\xe9\x03.";

/// The most bytes of a pickle. It has the names and sizes of tensors, not their numbers.
const PICKLE: usize = 64 << 20;

/// The pickle of a file, and the bytes of its storages by their keys.
pub(super) struct Parts<'a> {
    pub pickle: Cow<'a, [u8]>,
    pub storages: BTreeMap<String, Cow<'a, [u8]>>,
}

fn bad(reason: impl std::fmt::Display) -> Error {
    Error::container(Format::Torch, reason)
}

impl<'a> Parts<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self> {
        let parts = if bytes.starts_with(b"PK") {
            Self::of_archive(bytes)?
        } else if let Some(rest) = bytes.strip_prefix(MAGIC) {
            Self::of_pickles(rest)?
        } else if bytes.starts_with(b"\x80") {
            return Err(bad(
                "a pickle that torch.save did not write; save the model with torch.save or as safetensors",
            ));
        } else {
            return Err(bad("a tar archive, as PyTorch before 0.1.10 wrote it; save it with a later release"));
        };
        if parts.pickle.len() > PICKLE {
            return Err(bad(format!("its pickle has {} bytes, of which {PICKLE} are the most", parts.pickle.len())));
        }
        Ok(parts)
    }

    /// Reads `NAME/data.pkl`, `NAME/data/KEY` and `NAME/byteorder` of a zip archive.
    fn of_archive(bytes: &'a [u8]) -> Result<Self> {
        let archive = Archive::new(bytes).ok_or_else(|| bad("its zip directory is damaged"))?;
        let root = archive.names().find_map(|name| name.strip_suffix("data.pkl")).unwrap_or_default().to_owned();
        let mut parts = Self { pickle: Cow::Borrowed(&[]), storages: BTreeMap::new() };
        for (name, data) in archive.files() {
            let Some(inner) = name.strip_prefix(&root) else { continue };
            let key = inner.strip_prefix("data/");
            if key.is_none() && !matches!(inner, "data.pkl" | "byteorder") {
                continue;
            }
            let data = data.map_err(|cause| bad(format!("{name} {cause}")))?;
            match (key, inner) {
                (Some(key), _) if parts.storages.contains_key(key) => {
                    return Err(bad(format!("it has two files called {name}")));
                }
                (Some(key), _) => drop(parts.storages.insert(key.to_owned(), data)),
                (None, "data.pkl") => parts.pickle = data,
                (None, _) if data.trim_ascii() != b"little" => {
                    return Err(bad("its numbers are big-endian; save it on a little-endian machine"));
                }
                (None, _) => {}
            }
        }
        Ok(parts)
    }

    /// Reads what follows torch.save's number in an old file: the format's version, facts about the machine, the object, the
    /// keys of the storages, and their numbers.
    fn of_pickles(bytes: &'a [u8]) -> Result<Self> {
        let rest = bytes.strip_prefix(VERSION).ok_or_else(|| bad("its format has another version than 1001"))?;
        let mut cursor = Cursor(rest);
        let facts = pickle::read(&mut cursor)?;
        if let Value::Dict(items) = facts.get(facts.root) {
            let mut pairs = items.as_chunks().0.iter();
            let little = pairs.find(|[key, _]| *facts.get(*key) == Value::Text("little_endian"));
            if little.is_some_and(|&[_, value]| *facts.get(value) == Value::Bool(false)) {
                return Err(bad("its numbers are big-endian; save it on a little-endian machine"));
            }
        }
        let start = cursor.0;
        let object = pickle::read(&mut cursor)?;
        let pickle = &start[..start.len() - cursor.0.len()];
        let keys = pickle::read(&mut cursor)?;
        let Value::Sequence(items) = keys.get(keys.root) else { return Err(bad("it has no list of storages")) };
        let known: BTreeMap<&str, _> = object.storages().map(|storage| (storage.key, storage)).collect();
        let mut storages = BTreeMap::new();
        for &item in items {
            let cut = || bad("its storages are cut short");
            let Value::Text(key) = *keys.get(item) else { return Err(bad("a storage without a name")) };
            let storage = known.get(key).ok_or_else(|| bad(format!("storage {key} belongs to no tensor")))?;
            let (_, size) = view::element(storage.class).map_err(bad)?;
            let elements = cursor.u64().ok_or_else(cut)?;
            let len = usize::try_from(elements).ok().and_then(|elements| elements.checked_mul(size));
            let data = cursor.bytes(len.ok_or_else(cut)?).ok_or_else(cut)?;
            storages.insert(key.to_owned(), Cow::Borrowed(data));
        }
        Ok(Self { pickle: Cow::Borrowed(pickle), storages })
    }
}
