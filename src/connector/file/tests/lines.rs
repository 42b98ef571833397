//! Lines against a naive reader: any text, any ranges, any restarts.

use proptest::prelude::*;

use super::*;

/// What a line should become: its text, or its number where it is bad.
type Expected = (u64, Result<String, u64>);

/// Reads everything at once, slowly and plainly.
fn naive(file: &[u8], max_line: usize) -> Vec<Expected> {
    let mut found = Vec::new();
    let mut at = if file.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut number = 1;
    while at < file.len() {
        let newline = file[at..].iter().position(|&b| b == b'\n').map(|n| at + n);
        let mut line = &file[at..newline.unwrap_or(file.len())];
        if newline.is_some() {
            line = line.strip_suffix(b"\r").unwrap_or(line);
        }
        let text = std::str::from_utf8(line).ok().filter(|t| t.len() <= max_line);
        found.push((at as u64, text.map(str::to_owned).ok_or(number)));
        at = newline.map_or(file.len(), |n| n + 1);
        number += 1;
    }
    found
}

fn piece() -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![
        4 => Just(&b"a"[..]), 2 => Just(&b"bcdefgh"[..]), 1 => Just("é".as_bytes()),
        3 => Just(&b"\n"[..]), 2 => Just(&b"\r\n"[..]), 1 => Just(&b"\r"[..]),
        1 => Just(&b"\xff"[..]), 1 => Just(&b"\""[..]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn each_line_comes_once_whatever_the_ranges_reads_and_restarts(
        mark in any::<bool>(),
        pieces in prop::collection::vec(piece(), 0..60),
        split_size in prop::option::of(16u64..60),
        chunk in 1u64..40,
        batch in 1usize..6,
        max_line in prop_oneof![Just(1usize << 20), 0usize..12],
        cuts in prop::collection::vec(0usize..6, 0..4),
    ) {
        let mut file = if mark { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        pieces.iter().for_each(|p| file.extend_from_slice(p));
        let inputs = Inputs::embedded("text", leak(&file));
        let mut source = FileSource::lines(inputs).chunk(chunk).max_line_length(max_line);
        source.split_size = split_size;
        let source = source.with_dead_letters();
        let splits = source.discover(1).unwrap();
        let read = read_with_restarts(&source, splits, batch, &cuts).unwrap();
        let read: Vec<Expected> =
            read.into_iter().map(|(_, at, item)| (at, item.map_err(|letter| {
                assert_eq!(letter.byte, at);
                letter.line
            }))).collect();
        prop_assert_eq!(read, naive(&file, max_line));
    }
}

#[test]
fn json_lines_leave_blank_lines_out() {
    let inputs = Inputs::embedded("j", b"\xef\xbb\xbf{\"a\":1}\r\n\n  \n{\"a\":2}");
    let source = FileSource::json_lines::<std::collections::BTreeMap<String, u32>>(inputs);
    let read = read_with_restarts(&source, source.discover(1).unwrap(), 1, &[1, 1]).unwrap();
    let values: Vec<u32> = read.iter().map(|(_, _, map)| map["a"]).collect();
    assert_eq!(values, [1, 2]);
    assert_eq!(read[1].1, 16);
}

#[test]
fn files_are_found_in_order_each_once_and_empty_ones_end_well() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("b.txt", "two\n"), ("a.txt", "one"), ("empty.txt", ""), ("x.md", "no")] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    std::fs::create_dir(dir.path().join("folder.txt")).unwrap();
    let glob = dir.path().join("*.txt").to_str().unwrap().to_owned();
    let inputs = Inputs::from(&glob).and(dir.path().join("a.txt"));
    let source = FileSource::lines(inputs.and(Inputs::embedded("built in", b"three")));
    let splits = source.discover(3).unwrap();
    let names: Vec<_> = splits.iter().map(|s| s.id.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["a.txt", "b.txt", "empty.txt", "built in"]);
    let values = testing::drain(&source, splits, 100).values;
    assert_eq!(values, ["one", "two", "three"]);
    assert!(source.bounded() && source.replayable());
}

#[test]
fn positions_are_the_same_wherever_the_read_is_cut_short() {
    // A read that is dropped while it waits, at every point, loses and repeats nothing.
    use futures::FutureExt;
    let text: Vec<u8> = (0..200).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
    let source = FileSource::lines(Inputs::embedded("t", leak(&text))).chunk(37);
    let gate = testing::Gate::default();
    let context = ReaderContext { io: gate.io(), ..testing::context(10) };
    let mut reader = source.reader(source.discover(1).unwrap(), context).unwrap();
    let mut out = Batch::default();
    loop {
        match reader.next(&mut out).now_or_never() {
            Some(progress) if progress.as_ref().is_ok_and(|p| *p == Progress::End) => break,
            Some(progress) => assert_eq!(progress.unwrap(), Progress::More),
            None => {
                assert!(reader.next(&mut out).now_or_never().is_none());
                assert!(gate.release());
            }
        }
    }
    assert_eq!(out.values, (0..200).map(|i| format!("line {i}")).collect::<Vec<_>>());
    assert_eq!(reader.lag(), Lag::bytes(0));
}

#[test]
fn the_rate_is_kept_and_even() {
    let source = FileSource::lines(Inputs::embedded("t", leak(&b"x\n".repeat(4000)))).rate(2000);
    block_on(async {
        let context = testing::context(1024);
        let clock = context.clock;
        let begin = clock.now();
        let mut reader = source.reader(source.discover(1).unwrap(), context).unwrap();
        let mut out = Batch::default();
        let mut longest = std::time::Duration::ZERO;
        let mut before = clock.now();
        while reader.next(&mut out).await.unwrap() == Progress::More {
            longest = longest.max(clock.now() - before);
            before = clock.now();
        }
        let took = (clock.now() - begin).as_millis();
        assert!((1900..=2100).contains(&took), "{took} ms");
        assert!(longest.as_millis() <= 12, "{longest:?}");
        assert_eq!(out.values.len(), 4000);
    });
}

/// Each read used to ask for a little more than the one before.
#[test]
fn a_batch_of_long_lines_ends_after_what_a_read_has_brought() {
    for long in [100 << 10, 700 << 10] {
        let most = long.max(block::CHUNK as usize) + long;
        let text = [&b"x".repeat(long)[..], b"\n"].concat().repeat(64);
        let source = FileSource::lines(Inputs::embedded("t", leak(&text)));
        let splits = source.discover(1).unwrap();
        let mut reader = source.reader(splits, testing::context(1024)).unwrap();
        let (mut records, mut out) = (0, Batch::default());
        while block_on(reader.next(&mut out)).unwrap() == Progress::More {
            let bytes: usize = out.values.iter().map(String::len).sum();
            assert!(bytes <= most, "{bytes} bytes in {} records", out.values.len());
            records += out.values.len();
            out = Batch::default();
        }
        assert_eq!(records, 64);
    }
}
