//! What a run that goes on says of files that have come or grown.

use std::fs;

use super::super::unread::unread;
use super::*;

fn splits_of<F: Format>(source: &FileSource<F>) -> Vec<Split> {
    let found = source.discover(1).unwrap();
    found.iter().map(|state| Split::from_state(state).unwrap()).collect()
}

#[test]
fn new_files_and_what_was_added_to_old_ones_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let glob = path("*.log");
    for name in ["b.log", "c.log", "d.log"] {
        fs::write(path(name), "one\ntwo\nthree\nfour\nfive\n").unwrap();
    }
    let source = FileSource::lines(glob.as_path()).split_size(16);
    let splits = splits_of(&source);
    assert_eq!(unread(&source.inputs, &splits), [""; 0]);
    fs::write(path("a.log"), "").unwrap();
    fs::write(path("e.log"), "").unwrap();
    // Another name of a file that is read, and one that is gone: that is for others to say.
    #[cfg(unix)]
    std::os::unix::fs::symlink(path("b.log"), path("0.log")).unwrap();
    fs::remove_file(path("d.log")).unwrap();
    fs::write(path("c.log"), "one\ntwo\nthree\nfour\nfive\nsix\n").unwrap();
    // A file is one, in however many ranges, and also once it was read.
    let splits: Vec<_> = splits.into_iter().map(|s| Split { done: true, ..s }).collect();
    let told = |n: u32, have: &str, name: &str, what: &str| {
        format!(
            "{n} input files have {have} since the job began, {} among them: {what}; start with --fresh to \
             read all that is there",
            path(name).display()
        )
    };
    assert_eq!(
        unread(&source.inputs, &splits),
        [
            told(2, "come", "a.log", "they are not read"),
            told(1, "grown", "c.log", "what was added is not read")
        ]
    );
    // Growth is what a followed file is for.
    fs::remove_file(path("a.log")).unwrap();
    let followed = FileSource::lines(path("c.log").as_path()).follow();
    let splits = splits_of(&followed);
    fs::write(path("c.log"), "one\n".repeat(9)).unwrap();
    assert_eq!(unread(&followed.inputs, &splits), [""; 0]);
}
