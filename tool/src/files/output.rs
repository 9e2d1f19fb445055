//! Output files. Commands check before their work that a file can be written. A file is either complete or absent.

use std::fs;
use std::path::{Path, PathBuf};

use super::why;
use crate::error::{About, Result};

/// Makes the folder of an output file, and fails now if the file could not be written later.
pub fn prepare(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err("is a folder, not a file").about(path);
    }
    if path.file_name().is_none() {
        return Err("names no file").about(path);
    }
    if is_device(path) {
        return Ok(());
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

/// Writes a file atomically: writes a temporary file beside it and renames that.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = if is_device(path) {
        fs::write(path, bytes)
    } else {
        let beside = beside(path);
        let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            // Half a file is of no use. If it cannot be removed, it was not created.
            let _ = fs::remove_file(&beside);
        }
        written
    };
    written.map_err(|cause| format!("cannot be written: {}", why(&cause))).about(path)
}

/// Whether the path names something that a file must not replace, such as `/dev/null`.
fn is_device(path: &Path) -> bool {
    path.exists() && !path.is_file()
}

/// A temporary name that no other process uses at the same time.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_complete_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/file");
        prepare(&path).unwrap();
        assert!(!path.exists());
        for bytes in ["first", "second"] {
            write(&path, bytes.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(folder.path().join("new/folder")).unwrap().count(), 1);
        assert!(prepare(folder.path()).is_err() && prepare(&path.join("below")).is_err());
        assert!(write(&path.join("below"), b"x").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_device_stays_one() {
        let null = Path::new("/dev/null");
        prepare(null).unwrap();
        write(null, b"x").unwrap();
        assert!(is_device(null));
    }
}
