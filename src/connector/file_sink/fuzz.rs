//! Any names in an output folder, any bytes in its markers, and any bytes as what a manifest owes.

use super::folder::Part;
use super::*;
use crate::connector::Committable;
use crate::connector::testing;
use crate::error::ErrorKind;
use crate::fuzzing::Target;
use crate::ids::{Attempt, Incarnation};

#[test]
fn any_name_is_a_part_or_is_not_ours() {
    let target = Target::new("part-name").seed("part-out-7-3-2.jsonl").seed("open-a.b_c-1-0-0.csv");
    target
        .tokens(&["part-", "open-", ".csv", ".jsonl", "-", "/", "..", "18446744073709551615"])
        .run(|bytes| {
            let name = String::from_utf8_lossy(bytes);
            let Some(part) = Part::parse(&name) else { return "not ours".to_owned() };
            // What is named after it is found again, and lies in no other folder.
            let again = part.name("csv");
            assert_eq!(Part::parse(&again), Some(part));
            assert!(!again.contains(['/', '\\']) && !name.contains('/'), "{name}");
            "a part".to_owned()
        });
}

#[test]
fn any_marker_is_whose_or_an_error_that_names_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let markers = folder.path().join(".millpond");
    std::fs::create_dir(&markers).unwrap();
    let run = RunIdentity {
        job: Name::new("job").unwrap(),
        incarnation: Incarnation(2),
        attempt: Attempt(5),
        owner: String::new(),
        fresh: false,
        added: false,
        replace: false,
    };
    let target = Target::new("marker")
        .seed(r#"{"job":"job","incarnation":2,"attempt":4}"#)
        .seed(r#"{"job":"other","incarnation":1,"attempt":9}"#);
    target.tokens(&["\"job\"", "18446744073709551615", "-1", "1.5", "null", "{", "["]).run(
        |bytes| {
            let _gone = std::fs::remove_dir_all(&markers);
            std::fs::create_dir(&markers).unwrap();
            std::fs::write(markers.join("4.json"), bytes).unwrap();
            match Sink::<u32>::prepare(&FileSink::json_lines(folder.path()), &run) {
                Ok(()) => "prepared".to_owned(),
                Err(e) => {
                    let of_file =
                        e.kind() != ErrorKind::Corrupt || e.to_string().contains("4.json");
                    assert!(of_file && e.to_string().contains(".tmp"), "{e}");
                    e.message().to_owned()
                }
            }
        },
    );
}

#[test]
fn any_bytes_are_a_committable_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::json_lines(folder.path());
    Sink::<u32>::prepare(
        &sink,
        &RunIdentity {
            job: Name::new("job").unwrap(),
            incarnation: Incarnation(1),
            attempt: Attempt(1),
            owner: String::new(),
            fresh: true,
            added: false,
            replace: false,
        },
    )
    .unwrap();
    let mut writer: Box<dyn Writer<u32>> = sink.writer(testing::writer_context(1, 0)).unwrap();
    writer.write(&mut vec![1]).unwrap();
    let owed = testing::block_on(writer.snapshot(crate::ids::CheckpointId(1))).unwrap();
    let target = Target::new("committable").seed(owed[0].0.clone());
    target.run(|bytes| match committer::Owed::decode(&Committable(bytes.to_vec())) {
        Ok(owed) => {
            let again = committer::Owed::encode(&owed.folder, owed.name.clone());
            again.map_or_else(|e| e.to_string(), |_| "owed".to_owned())
        }
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
            e.to_string()
        }
    });
}
