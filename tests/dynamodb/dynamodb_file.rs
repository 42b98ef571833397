//! The embedded DynamoDB's file: it survives SIGKILL, has one owner, and says so when it cannot be
//! written.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use millpond::ErrorKind;
use millpond::checkpoint::contract::sample_head;
use millpond::checkpoint::{HeadChange, HeadCondition};
use millpond::config::Location;
use millpond::dynamodb::{Connection, Execution, Partition};
use millpond::ids::{CheckpointId, Incarnation, Name, SlotId};
use millpond::io::Io;
use millpond::state::{BlockKey, BlockKind, Presence};

use crate::dynamodb_support::{Tokio, connect, key, settings, try_connect, version, write};

const SEGMENT: BlockKey = BlockKey { kind: BlockKind::Segment, slot: SlotId(0), part: 0 };
const PATH: &str = "MILLPOND_TEST_CHILD_PATH";

fn job() -> Name {
    Name::new("job").unwrap()
}

async fn open(path: &Path) -> Connection {
    connect(Location::EmbeddedFile(Some(path.to_owned())), Execution::Thread(Io::new(Tokio))).await
}

/// Not a test by itself: what the child process runs. It writes and says what was answered.
#[tokio::test]
async fn child_process() {
    let Some(path) = std::env::var_os(PATH).map(PathBuf::from) else { return };
    let connection = open(&path).await;
    let store = connection.scoped(&job(), Incarnation(1), Duration::from_secs(60));
    let heads = connection.heads();
    let put = HeadChange::Put(Box::new(sample_head(1, 0)));
    heads.write(&job(), HeadCondition::Absent, put).await.unwrap();
    for n in 1.. {
        let bytes = Bytes::from(vec![n as u8; 100_000]);
        let item = write(n, version(1, 1), "value", Presence::Absent);
        let advance = HeadChange::Advance {
            checkpoint: CheckpointId(n.into()),
            retained: Vec::new(),
            identity: None,
        };
        let at = HeadCondition::At(version(1, 0).attempt, CheckpointId(u64::from(n) - 1));
        let written = async {
            store.put_block(SEGMENT, version(1, n.into()), bytes).await?;
            store.write_items(vec![item]).await?;
            heads.write(&job(), at, advance).await
        };
        match written.await {
            Ok(_) => println!("answered {n}"),
            Err(error) => {
                println!("error {:?}: {error}", error.kind());
                return;
            }
        }
        std::io::stdout().flush().unwrap();
    }
}

/// Starts the child; `setup` is shell code before it.
fn start_child(path: &Path, setup: &str) -> (Child, BufReader<ChildStdout>) {
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new("sh")
        .args([
            "-c",
            &format!("{setup} exec \"$0\" --exact dynamodb_file::child_process --nocapture"),
        ])
        .arg(program)
        .env(PATH, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// The number of a line that says what was answered; the harness prints lines, too.
fn answered(line: &str) -> Option<u32> {
    line.rsplit_once("answered ")?.1.trim().parse().ok()
}

#[tokio::test]
async fn what_was_answered_survives_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (mut child, mut out) = start_child(&path, "");
    let mut last = 0;
    while last < 25 {
        let mut line = String::new();
        assert!(out.read_line(&mut line).unwrap() > 0, "the child ended early");
        last = answered(&line).unwrap_or(last);
    }
    let settings = settings(Location::EmbeddedFile(Some(path.clone())));
    let taken = try_connect(&settings, Execution::Inline, None);
    let error = taken.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let text = error.to_string();
    assert!(text.contains(&format!("process {}", child.id())), "{text}");
    assert!(text.contains("state.db"), "{text}");
    child.kill().unwrap();
    child.wait().unwrap();
    for line in out.lines() {
        last = line.ok().and_then(|line| answered(&line)).unwrap_or(last);
    }
    let connection = open(&path).await;
    let store = connection.scoped(&job(), Incarnation(1), Duration::from_secs(60));
    let head = connection.heads().read(&job()).await.unwrap().unwrap();
    assert!(head.checkpoint.0 >= u64::from(last), "{head:?} after {last}");
    let block = store.get_block(SEGMENT).await.unwrap().unwrap();
    assert!(block.version >= version(1, last.into()));
    assert_eq!(block.bytes, vec![block.version.checkpoint.0 as u8; 100_000]);
    let items = store.read_items((1..=last).map(key).collect()).await.unwrap();
    assert!(items.iter().all(Option::is_some));
}

#[test]
fn a_disk_that_is_full_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    // Blocks of 512 or 1,024 bytes: no file may grow over 1 or 2 MB.
    let (mut child, out) = start_child(&path, "trap '' XFSZ; ulimit -f 2000;");
    let lines: Vec<_> = out.lines().map_while(Result::ok).collect();
    child.wait().unwrap();
    let error = lines.iter().find(|line| line.contains("error ")).unwrap();
    assert!(error.contains("error Io"), "{error}");
    assert!(error.contains("state.db"), "{error}");
}

#[tokio::test]
async fn a_folder_that_vanishes_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state").join("state.db");
    let connection = open(&path).await;
    let store = connection.scoped(&job(), Incarnation(1), Duration::ZERO);
    store.put_block(SEGMENT, version(1, 1), Bytes::new()).await.unwrap();
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let error = store.put_block(SEGMENT, version(1, 2), Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("state.db has vanished"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    std::fs::write(&path, "this is a text, and long enough to be told from a database's header")
        .unwrap();
    let settings = settings(Location::EmbeddedFile(Some(path)));
    let error = try_connect(&settings, Execution::Inline, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    // It used to talk of encryption and of the engine's own functions.
    assert!(error.to_string().contains("state.db is no database"), "{error}");
    assert!(error.to_string().contains("local-db-path"), "{error}");
}

#[tokio::test]
async fn a_former_incarnation_is_deleted_and_nothing_else() {
    let connection = connect(Location::EmbeddedMemory, Execution::Inline).await;
    let scoped = |n| connection.scoped(&job(), Incarnation(n), Duration::ZERO);
    let slots = [BlockKind::Segment, BlockKind::Manifest];
    for incarnation in [1, 2] {
        let store = scoped(incarnation);
        let writes = (0..200).map(|n| write(n, version(1, 1), "value", Presence::Absent));
        store.write_items(writes.collect()).await.unwrap();
        for kind in slots {
            let key = BlockKey { kind, ..SEGMENT };
            store.put_block(key, version(1, 1), Bytes::from_static(b"x")).await.unwrap();
        }
    }
    let states = (0..16).map(|group| {
        let key = key(group);
        Partition::State { operator: key.operator, state: key.state, key_group: key.key_group }
    });
    let slots = slots.into_iter().flat_map(|kind| {
        [Partition::SlotsFrom(kind, SlotId(1)), Partition::SlotsBelow(kind, SlotId(1))]
    });
    let partitions: Vec<_> = states.chain(slots).collect();
    let deleted = connection.purge(&job(), Incarnation(1), partitions.clone()).await.unwrap();
    assert_eq!(deleted, 202);
    // Begun again, there is nothing left to do, but the segment that is deleted unseen counts.
    assert_eq!(connection.purge(&job(), Incarnation(1), partitions).await.unwrap(), 1);
    let keys: Vec<_> = (0..200).map(key).collect();
    let gone = scoped(1).read_items(keys.clone()).await.unwrap();
    assert!(gone.iter().all(Option::is_none));
    assert!(scoped(1).get_block(SEGMENT).await.unwrap().is_none());
    let there = scoped(2).read_items(keys).await.unwrap();
    assert!(there.iter().all(Option::is_some));
    assert!(scoped(2).get_block(SEGMENT).await.unwrap().is_some());
}
