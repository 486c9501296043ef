//! Parquet files in an object store: written whole, then never changed.

use std::fs::File;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_ord::sort::{SortColumn, lexsort_to_indices};
use arrow_schema::SchemaRef;
use arrow_select::take::take_record_batch;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt as _};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::StoreError;
use super::kind::{ARRIVAL, KEY, TIME};

/// An object store, and the directory that it is.
#[derive(Debug)]
pub(super) struct Files {
    objects: Arc<dyn ObjectStore>,
    directory: PathBuf,
    is_durable: bool,
}

/// What is in a file.
pub(super) enum Contents {
    /// It is read as it is needed.
    File(File),
    /// It was fetched.
    Bytes(bytes::Bytes),
}

impl Files {
    /// The files of a directory, which is made if it is missing.
    pub(super) fn local(directory: PathBuf, is_durable: bool) -> Result<Self, StoreError> {
        std::fs::create_dir_all(&directory)?;
        let objects = LocalFileSystem::new_with_prefix(&directory)?;
        Ok(Self {
            objects: Arc::new(objects),
            directory,
            is_durable,
        })
    }

    /// All files below the root, with their sizes.
    pub(super) fn list(&self) -> Result<Vec<(Path, u64)>, StoreError> {
        let listed = wait(async {
            let mut found = Vec::new();
            let mut prefixes = vec![None];
            while let Some(prefix) = prefixes.pop() {
                let listed = self.objects.list_with_delimiter(prefix.as_ref()).await?;
                prefixes.extend(listed.common_prefixes.into_iter().map(Some));
                found.extend(listed.objects.into_iter().map(|it| (it.location, it.size)));
            }
            Ok::<_, object_store::Error>(found)
        });
        Ok(listed?)
    }

    /// Opens a file.
    pub(super) fn read(&self, path: &Path) -> Result<Contents, StoreError> {
        let contents = wait(async {
            let got = self.objects.get(path).await?;
            match got.payload {
                GetResultPayload::File(file, _) => Ok(Contents::File(file)),
                GetResultPayload::Stream(_) => Ok(Contents::Bytes(got.bytes().await?)),
            }
        });
        contents.map_err(|error: object_store::Error| error.into())
    }

    /// Writes a file, durably. It is there whole or not at all.
    pub(super) fn write(&self, path: &Path, bytes: Vec<u8>) -> Result<(), StoreError> {
        let put = self.objects.put(path, bytes.into());
        wait(put)?;
        if self.is_durable {
            // A rename is durable with its directory, and the directories on the way to it with theirs.
            let file = self.directory.join(path.as_ref());
            File::open(&file)?.sync_all()?;
            let ancestors = file.ancestors().skip(1);
            for directory in ancestors.take_while(|it| it.starts_with(&self.directory)) {
                File::open(directory)?.sync_all()?;
            }
        }
        Ok(())
    }

    /// Removes a file; that it is gone already is fine.
    pub(super) fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match wait(self.objects.delete(path)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // The directories of an hour and a day go with their last file.
        let file = self.directory.join(path.as_ref());
        for directory in file.ancestors().skip(1).take(2) {
            if std::fs::remove_dir(directory).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Where they are.
    pub(super) fn directory(&self) -> &std::path::Path {
        &self.directory
    }
}

/// Waits for a future on this thread, whether it is a runtime's or not: a directory is read on this thread,
/// or by a runtime's threads for blocking work, and nothing that is waited for needs this one.
fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Rows of a batch sorted by key, time, and arrival.
pub(super) fn sort(batch: &RecordBatch) -> Result<RecordBatch, StoreError> {
    sort_by(batch, &[KEY, TIME, ARRIVAL])
}

/// Rows of a batch sorted by columns.
pub(super) fn sort_by(batch: &RecordBatch, columns: &[&str]) -> Result<RecordBatch, StoreError> {
    let columns = columns.iter().filter_map(|name| {
        Some(SortColumn {
            values: Arc::clone(batch.column_by_name(name)?) as ArrayRef,
            options: None,
        })
    });
    let order = lexsort_to_indices(&columns.collect::<Vec<_>>(), None)?;
    Ok(take_record_batch(batch, &order)?)
}

/// Sorted batches on their way to be a Parquet file.
pub(super) struct Encoder {
    writer: ArrowWriter<Vec<u8>>,
    rows: u64,
}

impl Encoder {
    pub(super) fn new(schema: SchemaRef) -> Result<Self, ParquetError> {
        let level = ZstdLevel::try_new(ZSTD_LEVEL)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .build();
        Ok(Self {
            writer: ArrowWriter::try_new(Vec::new(), schema, Some(properties))?,
            rows: 0,
        })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch)
    }

    /// How many rows were written.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The file.
    pub(super) fn finish(self) -> Result<Vec<u8>, ParquetError> {
        self.writer.into_inner()
    }
}

/// Sorted batches as a Parquet file.
#[cfg(test)]
pub(super) fn encode(schema: SchemaRef, batches: &[RecordBatch]) -> Result<Vec<u8>, ParquetError> {
    let mut encoder = Encoder::new(schema)?;
    for batch in batches {
        encoder.write(batch)?;
    }
    encoder.finish()
}

/// The fastest that still gives most: flow records shrink to a fifth.
const ZSTD_LEVEL: i32 = 1;

/// Rows of a group, the least that is read of a file: few enough that a question for one key in a file
/// of a million rows reads a small part of it.
const GROUP_ROWS: usize = 32_768;
