//! Files that are written: whether they can be is known before the work, and they are complete or not there.

use std::fs;
use std::path::{Path, PathBuf};

use super::why;
use crate::error::{About, Result};

/// Makes the folder of a file that will be written, and fails now if it could not be written later.
pub fn prepare(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err("is a folder, a file is to be written").about(path);
    }
    if path.file_name().is_none() {
        return Err("names no file").about(path);
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)
            .map_err(|cause| format!("its folder cannot be made: {}", why(&cause)))
            .about(path)?;
    }
    let beside = beside(path);
    let tried = fs::write(&beside, []).and_then(|()| fs::remove_file(&beside));
    tried.map_err(|cause| format!("cannot be written: {}", why(&cause))).about(path)
}

/// Writes a file in one go: another is written beside it and takes its name.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = beside(path);
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    written
        .map_err(|cause| {
            // Half a file helps nobody.
            let _ = fs::remove_file(&beside);
            format!("cannot be written: {}", why(&cause))
        })
        .about(path)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}
