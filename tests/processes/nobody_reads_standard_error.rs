//! Whoever reads standard error stands still, as a terminal after Ctrl-S does: the job does not. For
//! functions that panic see `functions_that_hang`.

use std::io::{PipeReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::process::{eventually, flights, full_pipe, lines, millpond};

const FLIGHTS: usize = 1000;

/// A run whose standard error takes nothing more, and what takes it.
fn start(folder: &Path) -> (Child, PipeReader) {
    flights(&folder.join("input"), FLIGHTS, 4);
    let arguments = [
        "run",
        "route_stats",
        "--no-rest",
        "--input=input/*.csv",
        "--output=out",
        "-Dstate.backend.dynamodb.local-in-memory=true",
        "-Dexecution.checkpointing.interval=50 ms",
    ];
    let (reader, full) = full_pipe();
    let child = millpond(folder, &arguments).stdout(Stdio::null()).stderr(full).spawn().unwrap();
    (child, reader)
}

/// It used to stand still, with the beats of its lease, its status and its signals.
#[test]
fn a_job_goes_on_to_its_end_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, _unread) = start(folder.path());
    let status = eventually("the end of the process", || child.try_wait().unwrap());
    assert!(status.success(), "{status}");
    assert_eq!(lines(&folder.path().join("out")).len(), FLIGHTS);
}

#[test]
fn who_comes_back_is_told_all_that_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut reader) = start(folder.path());
    let all = || lines(&folder.path().join("out")).len() == FLIGHTS;
    eventually("all output", || all().then_some(()));
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    let said = said.trim_start_matches('.');
    assert!(said.starts_with("route_stats starts afresh on "), "{said}");
    assert!(said.contains("\nroute_stats finished: 1,000 records "), "{said}");
}
