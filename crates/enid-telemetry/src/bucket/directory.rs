//! Buckets that are directories.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::Object;

/// Writes a file into the directory of a bucket, whole or not at all.
pub(super) fn write(bucket: &Path, object: &Object) -> io::Result<()> {
    let path = bucket.join(&object.path);
    let directory = path.parent().unwrap_or(bucket);
    std::fs::create_dir_all(directory)?;
    let unfinished = unfinished(&path);
    let mut file = std::fs::File::create(&unfinished)?;
    file.write_all(&object.bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, &path)?;
    std::fs::File::open(directory)?.sync_all()
}

/// Where a file is while it is written: readers take a name with a dot before it for hidden.
fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.part"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_again_replaces_itself() {
        let bucket = tempfile::tempdir().unwrap();
        let object = Object {
            path: "a/b/file.gz".to_owned(),
            bytes: b"it".to_vec(),
        };
        write(bucket.path(), &object).unwrap();
        write(bucket.path(), &object).unwrap();
        let directory = bucket.path().join("a/b");
        assert_eq!(std::fs::read(directory.join("file.gz")).unwrap(), b"it");
        assert_eq!(directory.read_dir().unwrap().count(), 1);
        let in_the_way = Object {
            path: "a/b/file.gz/other".to_owned(),
            ..object
        };
        assert!(write(bucket.path(), &in_the_way).is_err());
    }
}
