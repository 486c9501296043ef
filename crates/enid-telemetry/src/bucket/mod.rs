//! Buckets: where files go. One that no S3 endpoint has is a directory of this machine.

mod directory;
pub mod endpoint;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;

use self::endpoint::{Endpoints, PutError};

/// A file as it is to be written. One that is written again replaces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its path in the bucket.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Object {
    /// A file of text, compressed.
    pub fn of_text(path: String, text: &str) -> io::Result<Self> {
        let mut file = GzEncoder::new(Vec::new(), Compression::default());
        file.write_all(text.as_bytes())?;
        let bytes = file.finish()?;
        Ok(Self { path, bytes })
    }
}

/// All buckets that there are.
#[derive(Clone)]
pub struct Buckets {
    /// The directory whose directories are the buckets that no endpoint has.
    pub directory: PathBuf,
    /// The S3 endpoints, if there are any.
    pub endpoints: Option<Arc<Endpoints>>,
}

/// Why a file is not in its bucket.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// It could not be written here.
    #[error("write a file")]
    File(#[from] io::Error),
    /// It could not be put at an endpoint.
    #[error("put a file")]
    Put(#[from] PutError),
}

impl Buckets {
    /// The number of the endpoint that a bucket is at; `None` if it is a directory.
    #[must_use]
    pub fn endpoint(&self, bucket: &str) -> Option<usize> {
        self.endpoints.as_ref()?.of(bucket)
    }

    /// Writes a file, whole or not at all. Blocks; not to be called on a thread of the endpoints' runtime.
    pub fn put(&self, bucket: &str, object: &Object) -> Result<(), BucketError> {
        match &self.endpoints {
            Some(endpoints) if endpoints.of(bucket).is_some() => Ok(endpoints.put(bucket, object)?),
            _ => Ok(directory::write(&self.directory.join(bucket), object)?),
        }
    }
}
