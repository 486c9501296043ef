//! The embedded engine: one redb file, durable before the answer.

use std::path::Path;

use enid_model::state::Revision;
use redb::{
    Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase, ReadableTable as _,
    TableDefinition,
};

use crate::{Engine, EngineError, OpenError, Row, Source, Write};

/// Key to (revision, value).
const RECORDS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("records");
/// One row: the last revision.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";

/// redb keeps pages in its own cache; the view in memory already serves every read.
const CACHE_BYTES: usize = 4 << 20;

/// Rows that are told together when the file is read.
const ROWS_AT_ONCE: usize = 4096;

pub(crate) struct Disk {
    path: Box<Path>,
    /// Absent only while the file is being opened again, or after that failed.
    database: Option<Database>,
}

/// redb's errors do not tell their source. An I/O error is taken out of them here, because the
/// writer asks whether it is that the disk is full.
fn failed<E>(what: &'static str) -> impl FnOnce(E) -> EngineError
where
    E: Into<redb::Error>,
{
    move |error| EngineError {
        what,
        source: match error.into() {
            redb::Error::Io(error) => Box::new(error),
            other => Box::new(other),
        },
    }
}

impl Disk {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        match create(path) {
            Ok(database) => Ok(Self {
                path: path.into(),
                database: Some(database),
            }),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(OpenError::InUse(path.into())),
            Err(other) => Err(OpenError::Engine(failed("open the file")(other))),
        }
    }

    fn database(&self) -> Result<&Database, EngineError> {
        self.database.as_ref().ok_or_else(|| EngineError {
            what: "use the file",
            source: "it could not be opened again after a failure".into(),
        })
    }

    fn try_write(&self, revision: Revision, writes: &[Write]) -> Result<(), EngineError> {
        let begin = self.database()?.begin_write().map_err(failed("begin"))?;
        {
            let mut records = begin.open_table(RECORDS).map_err(failed("open records"))?;
            for write in writes {
                let key = write.key.as_str();
                match &write.value {
                    Some(value) => records
                        .insert(key, (write.revision.0, value.as_slice()))
                        .map_err(failed("write a record"))?,
                    None => records.remove(key).map_err(failed("delete a record"))?,
                };
            }
            let mut meta = begin.open_table(META).map_err(failed("open meta"))?;
            meta.insert(REVISION, revision.0)
                .map_err(failed("write the revision"))?;
        }
        begin.commit().map_err(failed("commit"))
    }

    fn last_revision(&self) -> Result<Revision, EngineError> {
        revision_in(self.database()?)
    }
}

/// A file that nobody writes, open for reading alone.
pub(crate) struct Still(ReadOnlyDatabase);

impl Still {
    /// Opens it without a change to it. `None`: its last writer was cut off, so that it has to be opened
    /// for writing once, which repairs it.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, OpenError> {
        match ReadOnlyDatabase::open(path) {
            Ok(database) => Ok(Some(Self(database))),
            Err(DatabaseError::RepairAborted) => Ok(None),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(OpenError::InUse(path.into())),
            Err(other) => Err(OpenError::Engine(failed("open the file")(other))),
        }
    }
}

impl Source for Still {
    fn load(&mut self, tell: &mut dyn FnMut(Vec<Row>)) -> Result<Revision, EngineError> {
        rows_in(&self.0, tell)?;
        revision_in(&self.0)
    }
}

fn revision_in(database: &impl ReadableDatabase) -> Result<Revision, EngineError> {
    let read = database.begin_read().map_err(failed("begin reading"))?;
    let meta = read.open_table(META).map_err(failed("open meta"))?;
    let revision = meta.get(REVISION).map_err(failed("read the revision"))?;
    Ok(Revision(revision.map_or(0, |guard| guard.value())))
}

fn rows_in(
    database: &impl ReadableDatabase,
    tell: &mut dyn FnMut(Vec<Row>),
) -> Result<(), EngineError> {
    let read = database.begin_read().map_err(failed("begin reading"))?;
    let records = read.open_table(RECORDS).map_err(failed("open records"))?;
    let mut rows = Vec::new();
    for row in records.iter().map_err(failed("read records"))? {
        let (key, value) = row.map_err(failed("read a record"))?;
        let (written, bytes) = value.value();
        rows.push((key.value().to_owned(), bytes.to_vec(), Revision(written)));
        if rows.len() == ROWS_AT_ONCE {
            tell(std::mem::take(&mut rows));
        }
    }
    tell(rows);
    Ok(())
}

fn create(path: &Path) -> Result<Database, DatabaseError> {
    Database::builder().set_cache_size(CACHE_BYTES).create(path)
}

impl Source for Disk {
    fn load(&mut self, tell: &mut dyn FnMut(Vec<Row>)) -> Result<Revision, EngineError> {
        // A write transaction creates the tables of a new file.
        let begin = self.database()?.begin_write().map_err(failed("begin"))?;
        begin.open_table(RECORDS).map_err(failed("open records"))?;
        begin.open_table(META).map_err(failed("open meta"))?;
        begin.commit().map_err(failed("create tables"))?;

        rows_in(self.database()?, tell)?;
        self.last_revision()
    }
}

impl Engine for Disk {
    fn is_slow(&self) -> bool {
        true
    }

    /// After an I/O error redb refuses every later write, and whether the failed one is stored is
    /// open. The file is opened again, which repairs it, and its revision tells.
    fn write(&mut self, revision: Revision, writes: &[Write]) -> Result<(), EngineError> {
        let Err(failure) = self.try_write(revision, writes) else {
            return Ok(());
        };
        self.database = None;
        self.database = Some(create(&self.path).map_err(failed("open the file again"))?);
        if self.last_revision()? == revision {
            return Ok(());
        }
        Err(failure)
    }

    fn clear(&mut self, revision: Revision) -> Result<(), EngineError> {
        let begin = self.database()?.begin_write().map_err(failed("begin"))?;
        begin
            .delete_table(RECORDS)
            .map_err(failed("clear records"))?;
        begin.open_table(RECORDS).map_err(failed("open records"))?;
        {
            let mut meta = begin.open_table(META).map_err(failed("open meta"))?;
            meta.insert(REVISION, revision.0)
                .map_err(failed("write the revision"))?;
        }
        begin.commit().map_err(failed("commit"))
    }
}
