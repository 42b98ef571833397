//! The input: flights that were never flown, as many as it takes.

use std::fmt::Write;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::error::{Error, Result};

/// Files of the input. A route is in one of them only, so that its order, and with it each result,
/// does not depend on which file is read first.
pub(super) const FILES: usize = 4;
/// Airports; routes are the square of it.
const AIRPORTS: usize = 40;

/// Writes `flights` flights into `folder`, which it makes.
pub(super) fn write(folder: &Path, flights: u64, seed: u64) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    for (index, text) in texts(flights, seed).iter().enumerate() {
        let path = folder.join(format!("flights-{index}.csv"));
        std::fs::write(&path, text).map_err(|e| Error::io("write", &path, e))?;
    }
    Ok(())
}

fn texts(flights: u64, seed: u64) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut texts = vec!["date,delay,distance,origin,destination\n".to_owned(); FILES];
    for number in 0..flights {
        let (from, to) = (random.random_range(0..AIRPORTS), random.random_range(0..AIRPORTS));
        let delay = random.random_range(-20..200);
        let text = &mut texts[(from * AIRPORTS + to) % FILES];
        // Writing to a string does not fail.
        let _written = writeln!(text, "{number},{delay},100,A{from:02},A{to:02}");
    }
    texts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn all_flights_are_there_and_a_route_is_in_one_file() {
        let texts = texts(3_000, 1);
        let mut files = BTreeMap::new();
        for (file, text) in texts.iter().enumerate() {
            for line in text.lines().skip(1) {
                let route = line.splitn(4, ',').nth(3).unwrap();
                assert_eq!(*files.entry(route.to_owned()).or_insert(file), file, "{route}");
            }
        }
        let lines: usize = texts.iter().map(|text| text.lines().count() - 1).sum();
        assert_eq!(lines, 3_000);
        assert!(files.len() > 1_000);
    }
}
