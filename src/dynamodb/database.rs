//! The embedded database: one operation of DynamoDB's wire protocol in, one answer out.
//!
//! Owns the list of operations, the translation of bodies and errors, and what a file survives:
//! `SQLite`'s write-ahead log with `synchronous = NORMAL`, so every answered write survives the end of
//! the process, SIGKILL included. In addition each write of a head (`UpdateItem`) syncs that log to the
//! disk before it is answered: the log is one sequence, so a completed checkpoint and all before it
//! survive a loss of power, too, at the price of one `fsync` a checkpoint instead of one a request.

use dynoxide::DynoxideError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::lock::LockedFile;
use super::retry::STORAGE_FAILURE;
use crate::error::{Error, ErrorKind, Result};

/// What `X-Amz-Target` starts with.
const TARGET_PREFIX: &str = "DynamoDB_20120810.";

/// An open embedded database.
pub(super) struct Database {
    engine: dynoxide::Database,
    file: Option<LockedFile>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("file", &self.file).finish_non_exhaustive()
    }
}

/// An answer as HTTP has it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Database {
    /// Opens or makes the database on `file`, which this takes over.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] that names the path.
    pub(super) fn on_file(file: LockedFile) -> Result<Self> {
        let path = file.path();
        let failed = |e: DynoxideError| {
            Error::new(ErrorKind::Io, format!("cannot open {}: {e}", path.display()))
        };
        let text = path.to_str().ok_or_else(|| {
            Error::new(ErrorKind::Io, format!("the path {} is no UTF-8", path.display()))
        })?;
        if !file.may_be_database() {
            let message = format!(
                "{} is no database: local-db-path has to name one, or a file that does not exist yet",
                path.display()
            );
            return Err(Error::new(ErrorKind::Io, message));
        }
        let engine = dynoxide::Database::new(text).map_err(failed)?;
        // The only way to `PRAGMA synchronous = NORMAL`; see the file's header.
        engine.disable_bulk_loading().map_err(failed)?;
        Ok(Self { engine, file: Some(file) })
    }

    /// A database that ends with the process.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`]: there is nothing that can fail but memory.
    pub(super) fn in_memory() -> Result<Self> {
        let engine = dynoxide::Database::memory()
            .map_err(|e| Error::internal(format!("cannot open a database in memory: {e}")))?;
        Ok(Self { engine, file: None })
    }

    /// Answers one request. Blocks on the file.
    pub(super) fn answer(&self, target: &str, body: &[u8]) -> Reply {
        let operation = target.strip_prefix(TARGET_PREFIX).unwrap_or(target);
        if let Some(Err(vanished)) = self.file.as_ref().map(LockedFile::check_present) {
            return storage_failure(&vanished);
        }
        match self.run(operation, body) {
            Ok(body) => match self.sync_after(operation) {
                Ok(()) => Reply { status: 200, body },
                Err(error) => storage_failure(error.message()),
            },
            Err(error) => self.failed(&error),
        }
    }

    /// Heads are written by `UpdateItem`, and nothing else is.
    fn sync_after(&self, operation: &str) -> Result<()> {
        match &self.file {
            Some(file) if operation == "UpdateItem" => file.sync_log(),
            _ => Ok(()),
        }
    }

    fn run(&self, operation: &str, body: &[u8]) -> std::result::Result<Vec<u8>, DynoxideError> {
        let db = &self.engine;
        match operation {
            "BatchExecuteStatement" => write(&db.batch_execute_statement(read(body)?)?),
            "BatchGetItem" => write(&db.batch_get_item(read(body)?)?),
            "PutItem" => write(&db.put_item(read(body)?)?),
            "GetItem" => write(&db.get_item(read(body)?)?),
            "UpdateItem" => write(&db.update_item(read(body)?)?),
            "DeleteItem" => write(&db.delete_item(read(body)?)?),
            "Query" => write(&db.query(read(body)?)?),
            "Scan" => write(&db.scan(read(body)?)?),
            "BatchWriteItem" => write(&db.batch_write_item(read(body)?)?),
            "CreateTable" => write(&db.create_table(read(body)?)?),
            "DescribeTable" => write(&db.describe_table(read(body)?)?),
            "UpdateTable" => write(&db.update_table(read(body)?)?),
            "DeleteTable" => write(&db.delete_table(read(body)?)?),
            "ListTables" => write(&db.list_tables(read(body)?)?),
            "UpdateTimeToLive" => write(&db.update_time_to_live(read(body)?)?),
            "DescribeTimeToLive" => write(&db.describe_time_to_live(read(body)?)?),
            "ListTagsOfResource" => write(&db.list_tags_of_resource(read(body)?)?),
            "TagResource" => write(&db.tag_resource(read(body)?)?),
            "UntagResource" => write(&db.untag_resource(read(body)?)?),
            "ExecuteStatement" => write(&db.execute_statement(read(body)?)?),
            _ => Err(DynoxideError::ValidationException(format!(
                "unsupported operation {operation:?}"
            ))),
        }
    }

    /// Internal errors of the engine are `SQLite`'s: there is no network that could mend by itself.
    /// Only a lock held by another program (a shell that looks at the file) passes.
    fn failed(&self, error: &DynoxideError) -> Reply {
        let internal = error.status_code() >= 500;
        let text = error.to_string();
        if !internal || text.contains("locked") || text.contains("busy") {
            return Reply { status: error.status_code(), body: error.to_json().into_bytes() };
        }
        let place = match &self.file {
            Some(file) => file.path().display().to_string(),
            None => "the database in memory".to_owned(),
        };
        storage_failure(&format!("{place}: {text}"))
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> std::result::Result<T, DynoxideError> {
    serde_json::from_slice(body).map_err(|e| DynoxideError::SerializationException(e.to_string()))
}

fn write<T: Serialize>(answer: &T) -> std::result::Result<Vec<u8>, DynoxideError> {
    serde_json::to_vec(answer).map_err(|e| DynoxideError::InternalServerError(e.to_string()))
}

fn storage_failure(message: &str) -> Reply {
    let body = serde_json::json!({ "__type": STORAGE_FAILURE, "message": message });
    Reply { status: 500, body: body.to_string().into_bytes() }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::ffi::{c_char, c_int};

    use rusqlite::{Connection, auto_extension, ffi};

    use super::*;
    use crate::disk::power::{Record, Step};

    const TABLE: &str = r#"{"TableName":"table","BillingMode":"PAY_PER_REQUEST",
        "KeySchema":[{"AttributeName":"pk","KeyType":"HASH"}],
        "AttributeDefinitions":[{"AttributeName":"pk","AttributeType":"S"}]}"#;

    fn answered(database: &Database, operation: &str, body: &str) {
        let reply = database.answer(&format!("{TARGET_PREFIX}{operation}"), body.as_bytes());
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    }

    #[test]
    fn a_write_of_a_head_is_answered_once_the_log_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let file = LockedFile::open(&folder.path().join("state.db")).unwrap();
        let real = std::fs::canonicalize(folder.path()).unwrap();
        let database = Database::on_file(file).unwrap();
        answered(&database, "CreateTable", TABLE);
        let steps_of = |operation, body| {
            let record = Record::of(folder.path());
            answered(&database, operation, body);
            record.end().all().to_vec()
        };
        let put = r#"{"TableName":"table","Item":{"pk":{"S":"a"}}}"#;
        let update = r#"{"TableName":"table","Key":{"pk":{"S":"head"}}}"#;
        let sync = Step::Sync(real.join("state.db-wal"));
        assert_eq!(steps_of("PutItem", put), []);
        // Its name, once; then what is in it, each time.
        assert_eq!(steps_of("UpdateItem", update), [Step::SyncFolder(real), sync.clone()]);
        assert_eq!(steps_of("PutItem", put), []);
        assert_eq!(steps_of("UpdateItem", update), [sync]);
    }

    thread_local! {
        /// The connections that this thread has opened.
        static OPENED: RefCell<Vec<*mut ffi::sqlite3>> = const { RefCell::new(Vec::new()) };
    }

    #[expect(unsafe_code, reason = "what SQLite calls with each connection that it opens")]
    unsafe extern "C" fn note(
        connection: *mut ffi::sqlite3,
        _message: *mut *mut c_char,
        _api: *const ffi::sqlite3_api_routines,
    ) -> c_int {
        OPENED.with_borrow_mut(|opened| opened.push(connection));
        ffi::SQLITE_OK
    }

    /// A setting of a connection belongs to it alone, so it is asked itself, and no other on the same file.
    #[test]
    #[expect(unsafe_code, reason = "the engine does not give its connection away")]
    fn the_engine_runs_at_the_level_that_the_documents_state() {
        let folder = tempfile::tempdir().unwrap();
        let file = LockedFile::open(&folder.path().join("state.db")).unwrap();
        // SAFETY: `note` keeps the pointer for this thread, whatever is called with it.
        unsafe { auto_extension::register_auto_extension(note) }.unwrap();
        let database = Database::on_file(file).unwrap();
        auto_extension::cancel_auto_extension(note);
        answered(&database, "CreateTable", TABLE);
        let opened = OPENED.take();
        assert_eq!(opened.len(), 1, "another connection may have another level");
        // SAFETY: `database` holds the connection open, and is used by this thread alone.
        let connection = unsafe { Connection::from_handle(opened[0]) }.unwrap();
        let asked = |pragma| connection.pragma_query_value(None, pragma, |row| row.get(0));
        assert_eq!(asked("synchronous"), Ok(1_i64), "1 is NORMAL");
        let mode = connection.pragma_query_value(None, "journal_mode", |row| row.get(0));
        assert_eq!(mode, Ok("wal".to_owned()));
        drop(database);
    }
}
