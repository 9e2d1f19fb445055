//! No bytes may panic the converter, and what it returns may not panic the library.
#![no_main]

use skinny::model::{Import, ImportOptions};
use skinny_convert::{Selection, convert};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(converted) = convert(bytes, &Selection::default()) {
        drop(Import::read(&converted.bytes, &ImportOptions::default(), skinny::Tier::Portable));
    }
});
