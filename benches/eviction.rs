//! Which entries should leave memory first: the policy of the state against four others.
//!
//! `cargo bench --bench eviction` follows accesses over 1,000,000 keys with room for 100,000 of them, ten
//! million for each line, and prints how many hit, what an access costs, the index from keys to entries
//! included, and what the policy keeps in memory for an entry. Accesses are uniform; Zipf 1.0; Zipf 1.0 with
//! a scan of 150,000 keys after each 500,000, whose own hits do not count; and Zipf 1.0 whose ranks move on
//! by 50,000 keys after each million. It fails where the state's own is not within a point of the best
//! where keys are scanned.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../src/splitmix.rs"]
mod splitmix;

use std::collections::VecDeque;
use std::process::ExitCode;

use millpond::clock::Clock;
use millpond::state::{Recency, Standing};
use splitmix::mix;

const KEYS: u32 = 1_000_000;
const ROOM: u32 = 100_000;
const ACCESSES: usize = 10_000_000;
const NONE: u32 = u32::MAX;

/// Chooses who leaves; entries are numbered from 0 to [`ROOM`].
trait Policy {
    fn hit(&mut self, entry: u32);
    fn enter(&mut self, entry: u32, key: u32);
    /// The next one to leave; `keys` by entry.
    fn leave(&mut self, keys: &[u32]) -> u32;
    fn bytes(&self) -> u64;
}

/// The state's own.
struct Ours(Recency);

impl Ours {
    fn new() -> Self {
        let mut recency = Recency::default();
        recency.activate(ROOM);
        Self(recency)
    }
}

impl Policy for Ours {
    fn hit(&mut self, entry: u32) {
        self.0.touch(entry);
    }

    fn enter(&mut self, entry: u32, _: u32) {
        self.0.enter(entry);
    }

    fn leave(&mut self, _: &[u32]) -> u32 {
        self.0.victim(ROOM, &mut u32::MAX.clone(), |_| Standing::Free).unwrap_or_default()
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

/// A list with both ends.
struct List {
    before: Vec<u32>,
    after: Vec<u32>,
    first: u32,
    last: u32,
}

impl List {
    fn new() -> Self {
        let none = || vec![NONE; ROOM as usize];
        Self { before: none(), after: none(), first: NONE, last: NONE }
    }

    fn take(&mut self, entry: u32) {
        let (before, after) = (self.before[entry as usize], self.after[entry as usize]);
        match before {
            NONE => self.first = after,
            before => self.after[before as usize] = after,
        }
        match after {
            NONE => self.last = before,
            after => self.before[after as usize] = before,
        }
    }

    fn push_first(&mut self, entry: u32) {
        self.before[entry as usize] = NONE;
        self.after[entry as usize] = self.first;
        match self.first {
            NONE => self.last = entry,
            first => self.before[first as usize] = entry,
        }
        self.first = entry;
    }

    fn bytes(&self) -> u64 {
        (self.before.len() * 8) as u64
    }
}

struct Lru(List);

impl Policy for Lru {
    fn hit(&mut self, entry: u32) {
        self.0.take(entry);
        self.0.push_first(entry);
    }

    fn enter(&mut self, entry: u32, _: u32) {
        self.0.push_first(entry);
    }

    fn leave(&mut self, _: &[u32]) -> u32 {
        let last = self.0.last;
        self.0.take(last);
        last
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

/// A hand that sweeps over the numbers; what was used since is passed over once. What is new has no mark.
struct Second {
    seen: Vec<bool>,
    hand: usize,
}

impl Policy for Second {
    fn hit(&mut self, entry: u32) {
        self.seen[entry as usize] = true;
    }

    fn enter(&mut self, entry: u32, _: u32) {
        self.seen[entry as usize] = false;
    }

    fn leave(&mut self, _: &[u32]) -> u32 {
        loop {
            let entry = self.hand;
            self.hand = (self.hand + 1) % self.seen.len();
            if !std::mem::take(&mut self.seen[entry]) {
                return entry as u32;
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.seen.len() as u64 / 8
    }
}

/// As the hand, but in the order of arrival, and what is new comes in at the other end. Zhang et al., NSDI '24.
struct Sieve {
    list: List,
    seen: Vec<bool>,
    hand: u32,
}

impl Policy for Sieve {
    fn hit(&mut self, entry: u32) {
        self.seen[entry as usize] = true;
    }

    fn enter(&mut self, entry: u32, _: u32) {
        self.seen[entry as usize] = false;
        self.list.push_first(entry);
    }

    fn leave(&mut self, _: &[u32]) -> u32 {
        let start = |at: u32, list: &List| if at == NONE { list.last } else { at };
        let mut at = start(self.hand, &self.list);
        while std::mem::take(&mut self.seen[at as usize]) {
            at = start(self.list.before[at as usize], &self.list);
        }
        self.hand = self.list.before[at as usize];
        self.list.take(at);
        at
    }

    fn bytes(&self) -> u64 {
        self.list.bytes() + self.seen.len() as u64 / 8
    }
}

/// A small queue, a main one, and a table of what has left the small one. Yang et al., SOSP '23.
struct S3Fifo {
    small: VecDeque<u32>,
    main: VecDeque<u32>,
    uses: Vec<u8>,
    /// Fingerprint, and when it left.
    ghosts: Vec<(u16, u32)>,
    left: u32,
}

impl S3Fifo {
    fn new() -> Self {
        let ghosts = vec![(0, 0); (2 * ROOM as usize).next_power_of_two()];
        let (small, main) = (VecDeque::new(), VecDeque::new());
        Self { small, main, uses: vec![0; ROOM as usize], ghosts, left: 0 }
    }

    fn ghost(&self, key: u32) -> (usize, u16) {
        let hash = mix(u64::from(key));
        (hash as usize % self.ghosts.len(), (hash >> 48) as u16 | 1)
    }
}

impl Policy for S3Fifo {
    fn hit(&mut self, entry: u32) {
        let uses = &mut self.uses[entry as usize];
        *uses = (*uses + 1).min(3);
    }

    fn enter(&mut self, entry: u32, key: u32) {
        self.uses[entry as usize] = 0;
        let (at, fingerprint) = self.ghost(key);
        let (found, when) = self.ghosts[at];
        if found == fingerprint && self.left - when < ROOM / 10 * 9 {
            self.ghosts[at].0 = 0;
            self.main.push_back(entry);
        } else {
            self.small.push_back(entry);
        }
    }

    fn leave(&mut self, keys: &[u32]) -> u32 {
        loop {
            if self.small.len() >= ROOM as usize / 10
                && let Some(entry) = self.small.pop_front()
            {
                if self.uses[entry as usize] > 1 {
                    self.uses[entry as usize] = 0;
                    self.main.push_back(entry);
                    continue;
                }
                let (at, fingerprint) = self.ghost(keys[entry as usize]);
                self.left += 1;
                self.ghosts[at] = (fingerprint, self.left);
                return entry;
            }
            let Some(entry) = self.main.pop_front() else {
                return self.small.pop_front().unwrap_or_default();
            };
            if self.uses[entry as usize] == 0 {
                return entry;
            }
            self.uses[entry as usize] -= 1;
            self.main.push_back(entry);
        }
    }

    fn bytes(&self) -> u64 {
        let queues = (self.small.capacity() + self.main.capacity()) * 4;
        // Two bits of uses; a ghost could do with two bytes and a half.
        (queues + self.uses.len() / 4 + self.ghosts.len() * 5 / 2) as u64
    }
}

/// Draws keys; rank and key have nothing to do with each other.
struct Draw {
    state: u64,
    /// The share of the first so many ranks.
    shares: Vec<f64>,
}

impl Draw {
    fn new() -> Self {
        let weights = (1..=KEYS).map(|rank| 1.0 / f64::from(rank));
        let sums = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        let mut shares: Vec<f64> = sums.collect();
        let all = shares.last().copied().unwrap_or(1.0);
        shares.iter_mut().for_each(|share| *share /= all);
        Self { state: 1, shares }
    }

    fn next(&mut self) -> u64 {
        splitmix::next(&mut self.state)
    }

    fn uniform(&mut self) -> u32 {
        (self.next() % u64::from(KEYS)) as u32
    }

    fn zipf(&mut self, moved: u32) -> u32 {
        let share = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        let rank = self.shares.partition_point(|up_to| *up_to < share) as u64;
        ((rank + u64::from(moved)) * 700_001 % u64::from(KEYS)) as u32
    }
}

/// A key, and whether its hit counts.
type Access = (u32, bool);

fn accesses(kind: &str) -> Vec<Access> {
    let mut draw = Draw::new();
    let mut all = Vec::with_capacity(ACCESSES);
    let mut scanned = 0;
    while all.len() < ACCESSES {
        let key = match kind {
            "uniform" => draw.uniform(),
            "drifting" => draw.zipf(all.len() as u32 / 1_000_000 * 50_000),
            _ => draw.zipf(0),
        };
        all.push((key, true));
        if kind == "scanned" && all.len() % 650_000 == 500_000 {
            all.extend((scanned..scanned + 150_000).map(|key| (key % KEYS, false)));
            scanned = (scanned + 150_000) % KEYS;
        }
    }
    all.truncate(ACCESSES);
    all
}

/// The share of hits after the first quarter, and nanoseconds an access.
fn follow(policy: &mut dyn Policy, accesses: &[Access]) -> (f64, f64) {
    let clock = Clock::system();
    let mut places = vec![NONE; KEYS as usize];
    let mut keys = vec![NONE; ROOM as usize];
    let mut free: Vec<u32> = (0..ROOM).rev().collect();
    let (mut hits, mut counted) = (0u64, 0u64);
    let begun = clock.now();
    for (n, &(key, counts)) in accesses.iter().enumerate() {
        let place = places[key as usize];
        if place == NONE {
            let entry = free.pop().unwrap_or_else(|| {
                let entry = policy.leave(&keys);
                places[keys[entry as usize] as usize] = NONE;
                entry
            });
            keys[entry as usize] = key;
            places[key as usize] = entry;
            policy.enter(entry, key);
        } else {
            policy.hit(place);
        }
        if counts && n >= accesses.len() / 4 {
            counted += 1;
            hits += u64::from(place != NONE);
        }
    }
    let ns = (clock.now() - begun).as_nanos() as f64 / accesses.len() as f64;
    (hits as f64 / counted.max(1) as f64, ns)
}

fn policies() -> Vec<(&'static str, Box<dyn Policy>)> {
    let seen = || vec![false; ROOM as usize];
    vec![
        ("ours", Box::new(Ours::new())),
        ("S3-FIFO", Box::new(S3Fifo::new())),
        ("SIEVE", Box::new(Sieve { list: List::new(), seen: seen(), hand: NONE })),
        ("CLOCK", Box::new(Second { seen: seen(), hand: 0 })),
        ("LRU", Box::new(Lru(List::new()))),
    ]
}

fn main() -> ExitCode {
    println!(
        "{:<10} {:<8} {:>8} {:>10} {:>12}",
        "accesses", "policy", "hits", "ns/access", "bytes/entry"
    );
    let mut holds = true;
    for kind in ["zipf", "uniform", "scanned", "drifting"] {
        let accesses = accesses(kind);
        let mut best = 0.0f64;
        let mut ours = 0.0;
        for (name, mut policy) in policies() {
            let (hits, ns) = follow(policy.as_mut(), &accesses);
            let bytes = policy.bytes() as f64 / f64::from(ROOM);
            println!("{kind:<10} {name:<8} {:>7.2}% {ns:>10.1} {bytes:>12.2}", hits * 100.0);
            best = best.max(hits);
            ours = if name == "ours" { hits } else { ours };
        }
        holds &= kind != "scanned" || best - ours < 0.01;
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
