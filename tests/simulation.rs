//! Simulated runs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::simulation;

#[test]
fn seeds() {
    let from: u64 = std::env::var("FROM").map_or(0, |n| n.parse().unwrap());
    let n: u64 = std::env::var("N").map_or(50, |n| n.parse().unwrap());
    let mut sum = simulation::Counts::default();
    for seed in from..from + n {
        match simulation::run(seed) {
            Ok(r) => {
                println!("{seed} {} {:?} {}ms {:x}", r.what, r.counts, r.virtual_ms, r.digest);
                sum.faults += r.counts.faults;
                sum.crashes += r.counts.crashes;
            }
            Err(f) => panic!("{f}"),
        }
    }
    println!("{sum:?}");
}
