//! The loop of the fuzz tests: bytes that were kept, then bytes that are made up, and for none of them
//! a panic or more memory than they are worth.
//!
//! Owns mutation, the kept corpus (`tests/corpus/TARGET/`, replayed first), the bound on memory, and
//! what a finding leaves behind: the smallest input that shows it, in that folder. What is fed, and
//! what else must hold, is each target's, beside the code that it feeds.
//!
//! Stable Rust shows no coverage, so what the code says about an input stands for it: an input that
//! gets an answer of a new form is mutated further. Each target runs for a second, or for
//! `MILLPOND_FUZZ_SECONDS`; `MILLPOND_FUZZ_SEED` chooses other inputs. An input that ends the process,
//! by its stack or its memory, is left in the folder for temporary files, as `millpond-fuzz-TARGET`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Inputs that are mutated further, at most.
const POOL: usize = 1000;
/// Of each kind of mutation, the longest repetition.
const LONGEST: usize = 100_000;
/// Tries to make a finding smaller.
const SHRINKS: usize = 3000;
/// Memory that any input may take, and more for each byte of it.
const MEMORY: u64 = 1 << 20;
const MEMORY_PER_BYTE: u64 = 64;

/// What is fuzzed.
pub(crate) struct Target {
    name: &'static str,
    pool: Vec<Vec<u8>>,
    tokens: Vec<&'static [u8]>,
    repair: fn(Vec<u8>) -> Vec<u8>,
    memory: u64,
}

impl Target {
    /// A target whose corpus is `tests/corpus/NAME/`.
    pub(crate) fn new(name: &'static str) -> Self {
        let (pool, tokens) = (Vec::new(), Vec::new());
        Self { name, pool, tokens, repair: |bytes| bytes, memory: MEMORY }
    }

    /// Adds a valid input to begin with.
    pub(crate) fn seed(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.pool.push(bytes.into());
        self
    }

    /// Adds pieces of text that mean something to the target.
    pub(crate) fn tokens(mut self, tokens: &[&'static str]) -> Self {
        self.tokens.extend(tokens.iter().map(|token| token.as_bytes()));
        self
    }

    /// Makes checksums true again, without which no mutation gets past them.
    pub(crate) fn repair(mut self, repair: fn(Vec<u8>) -> Vec<u8>) -> Self {
        self.repair = repair;
        self
    }

    /// Lets any input take `bytes` of memory.
    pub(crate) fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Feeds `check`, which panics where something does not hold, and otherwise gives what the code
    /// said about the input.
    #[track_caller]
    pub(crate) fn run(self, check: impl Fn(&[u8]) -> String) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(self.name);
        let running = std::env::temp_dir().join(format!("millpond-fuzz-{}", self.name));
        let mut run = Run { target: &self, check: &check, running, seen: HashSet::new() };
        let mut pool = kept(&folder);
        pool.extend(self.pool.iter().cloned());
        for input in &pool {
            run.feed(input, &folder);
        }
        let mut random = StdRng::seed_from_u64(variable("MILLPOND_FUZZ_SEED").unwrap_or(1));
        let seconds = variable("MILLPOND_FUZZ_SECONDS").unwrap_or(1);
        let (end, mut inputs) = (now() + Duration::from_secs(seconds), 0u64);
        while now() < end {
            let input = self.mutated(&pool, &mut random);
            inputs += 1;
            if run.feed(&input, &folder) && pool.len() < POOL {
                pool.push(input);
            }
        }
        let forms = run.seen.len();
        println!("{}: {inputs} inputs, {forms} forms of answers, {} kept", self.name, pool.len());
        drop(std::fs::remove_file(run.running));
    }

    fn mutated(&self, pool: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
        let mut input = pool.choose(random).cloned().unwrap_or_default();
        for _ in 0..random.random_range(1..5) {
            self.mutate(&mut input, pool, random);
        }
        // Now and then the checksum is wrong, too.
        if random.random_ratio(31, 32) { (self.repair)(input) } else { input }
    }

    fn mutate(&self, input: &mut Vec<u8>, pool: &[Vec<u8>], random: &mut StdRng) {
        let at = random.random_range(0..=input.len());
        let upto = random.random_range(at..=input.len().min(at + 1 + input.len() / 4));
        match random.random_range(0..12) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..upto)),
            2 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            3 if at < input.len() => {
                input[at] = *BYTES.choose(random).unwrap_or(&0);
            }
            4 if at < input.len() => {
                input[at] = input[at].wrapping_add(random.random_range(0..3)).wrapping_sub(1);
            }
            5 => {
                let number = number(random);
                overwrite(input, at, &number);
            }
            6 => {
                let number = number(random);
                insert(input, at, &number);
            }
            7 => {
                let piece = input[at..upto].to_vec();
                let times = if random.random_ratio(1, 64) {
                    LONGEST / piece.len().max(1)
                } else {
                    random.random_range(1..9)
                };
                insert(input, at, &piece.repeat(times));
            }
            8 => {
                if let Some(token) = self.tokens.choose(random) {
                    insert(input, at, token);
                }
            }
            9 => {
                if let Some(token) = self.tokens.choose(random) {
                    drop(input.drain(at..upto));
                    insert(input, at, token);
                }
            }
            10 => {
                if let Some(other) = pool.choose(random) {
                    let from = random.random_range(0..=other.len());
                    let to = random.random_range(from..=other.len());
                    insert(input, at, &other[from..to]);
                }
            }
            _ => insert(input, at, &[random.random()]),
        }
        input.truncate(2 * LONGEST);
    }
}

/// Bytes that are ends of something, in numbers and in texts.
const BYTES: [u8; 14] =
    [0, 1, 0x7F, 0x80, 0xC3, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF, b'\n', b'\r', b'"'];
/// Numbers at which something ends.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x7F,
    0xFF,
    0x1_00,
    0x7FFF,
    0xFFFF,
    1 << 20,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX,
];

/// A number as length fields have it: of 2, 4 or 8 bytes, after its mark in bincode, or in sevens.
fn number(random: &mut StdRng) -> Vec<u8> {
    let mut number = *NUMBERS.choose(random).unwrap_or(&0);
    let bytes = number.to_le_bytes();
    match random.random_range(0..7) {
        0 => bytes[..2].to_vec(),
        1 => bytes[..4].to_vec(),
        2 => bytes.to_vec(),
        3 => [&[0xFB][..], &bytes[..2]].concat(),
        4 => [&[0xFC][..], &bytes[..4]].concat(),
        5 => [&[0xFD][..], &bytes[..]].concat(),
        _ => {
            let mut sevens = Vec::new();
            while number >= 0x80 {
                sevens.push(number as u8 | 0x80);
                number >>= 7;
            }
            sevens.push(number as u8);
            sevens
        }
    }
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (byte, new) in input[at..].iter_mut().zip(bytes) {
        *byte = *new;
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    drop(input.splice(at..at, bytes.iter().copied()));
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long to look is no matter of the engine's clock"
)]
fn now() -> Instant {
    Instant::now()
}

/// The text of a caught panic.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// The files of a corpus, in the order of their names.
fn kept(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

struct Run<'a, C> {
    target: &'a Target,
    check: &'a C,
    running: PathBuf,
    seen: HashSet<String>,
}

impl<C: Fn(&[u8]) -> String> Run<'_, C> {
    /// Whether the answer has a new form.
    #[track_caller]
    fn feed(&mut self, input: &[u8], folder: &Path) -> bool {
        std::fs::write(&self.running, input).unwrap();
        match self.answer(input) {
            Ok(answer) => self.seen.insert(form(&answer)),
            Err(wrong) => {
                let small = self.shrunk(input, &form(&wrong));
                let name = format!("found-{:016x}", xxhash_rust::xxh3::xxh3_64(&small));
                std::fs::create_dir_all(folder).unwrap();
                std::fs::write(folder.join(&name), &small).unwrap();
                drop(std::fs::remove_file(&self.running));
                panic!("{}: {wrong}; kept as {name}: {:?}", self.target.name, text(&small));
            }
        }
    }

    /// What the code says, or what is wrong with it.
    fn answer(&self, input: &[u8]) -> Result<String, String> {
        let answer = RefCell::new(Ok(String::new()));
        let memory = allocation_counter::measure(|| {
            let checked = catch_unwind(AssertUnwindSafe(|| (self.check)(input)));
            *answer.borrow_mut() = checked.map_err(|panic| panic_message(&*panic).to_owned());
        });
        let bound = self.target.memory + MEMORY_PER_BYTE * input.len() as u64;
        match answer.into_inner() {
            Ok(_) if memory.bytes_max > bound => Err(format!(
                "{} bytes of memory for an input of {} bytes",
                memory.bytes_max,
                input.len()
            )),
            answer => answer,
        }
    }

    /// The smallest part that is found to be wrong in the same way.
    fn shrunk(&self, input: &[u8], wrong: &str) -> Vec<u8> {
        let (mut small, mut piece, mut tries) = (input.to_vec(), input.len() / 2, SHRINKS);
        while piece > 0 && tries > 0 {
            let mut at = 0;
            while at < small.len() && tries > 0 {
                let mut less = small.clone();
                less.drain(at..small.len().min(at + piece));
                let less = (self.target.repair)(less);
                tries -= 1;
                if less.len() < small.len() && self.answer(&less).is_err_and(|e| form(&e) == wrong)
                {
                    small = less;
                } else {
                    at += piece;
                }
            }
            piece /= 2;
        }
        small
    }
}

/// An answer without what differs from input to input: numbers, and what is in quotes.
fn form(answer: &str) -> String {
    let mut form = String::new();
    let mut quoted = false;
    for c in answer.chars() {
        quoted ^= c == '"';
        if !quoted && !c.is_ascii_digit() {
            form.push(c);
        }
    }
    form.truncate(form.char_indices().nth(200).map_or(form.len(), |(at, _)| at));
    form
}

fn text(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(200)
        .flat_map(|byte| std::ascii::escape_default(*byte))
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A parser that is wrong in one of the ways that are looked for.
    fn finding(check: fn(&[u8]) -> String) -> String {
        let target = Target::new("nothing").seed("a 10 bc");
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let folder = tempfile::tempdir().unwrap();
            let running = folder.path().join("running");
            let mut run = Run { target: &target, check: &check, running, seen: HashSet::new() };
            let mut random = StdRng::seed_from_u64(1);
            for _ in 0..3_000 {
                let input = target.mutated(&target.pool, &mut random);
                run.feed(&input, folder.path());
            }
        }));
        caught.map_or_else(|panic| panic_message(&*panic).to_owned(), |()| "nothing".to_owned())
    }

    #[test]
    fn a_panic_is_found_and_made_small() {
        let found = finding(|bytes| format!("{}", bytes.iter().filter(|b| **b == 0xFF).count()));
        assert_eq!(found, "nothing");
        let found = finding(|bytes| {
            assert!(!bytes.contains(&0xFF), "it panics");
            String::new()
        });
        assert!(found.starts_with("nothing: it panics; kept as found-"), "{found}");
        assert!(found.ends_with("\"\\\\xff\""), "{found}");
    }

    #[test]
    fn memory_that_a_length_field_asks_for_is_found() {
        let found = finding(|bytes| {
            let length = bytes.first_chunk::<4>().map_or(0, |first| u32::from_le_bytes(*first));
            drop(Vec::<u8>::with_capacity(length as usize));
            String::new()
        });
        assert!(found.contains(" bytes of memory for an input of "), "{found}");
    }

    #[test]
    fn answers_are_of_one_form_whatever_their_numbers_and_quotes() {
        assert_eq!(form("line 3: \"a\" is no number"), form("line 14: \"b1\" is no number"));
        assert_ne!(form("line 3: no number"), form("line 3: no text"));
    }
}
