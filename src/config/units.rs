//! Durations and sizes as Flink writes them: `10 s`, `500ms`, `1 min`; `256 MiB`, `64mb`.
//!
//! Owns their two text forms. As in Flink, a duration without a unit is in milliseconds, a size
//! without one in bytes, and all units of size are powers of 1,024.

use std::time::Duration;

const DURATIONS: [(&str, u64, &[&str]); 7] = [
    ("d", 86_400_000_000_000, &["day", "days"]),
    ("h", 3_600_000_000_000, &["hour", "hours"]),
    ("min", 60_000_000_000, &["m", "minute", "minutes"]),
    ("s", 1_000_000_000, &["sec", "secs", "second", "seconds"]),
    ("ms", 1_000_000, &["milli", "millis", "millisecond", "milliseconds"]),
    ("µs", 1_000, &["us", "micro", "micros", "microsecond", "microseconds"]),
    ("ns", 1, &["nano", "nanos", "nanosecond", "nanoseconds"]),
];

const SIZES: [(&str, u64, &[&str]); 5] = [
    ("TiB", 1 << 40, &["t", "tb", "tebibytes"]),
    ("GiB", 1 << 30, &["g", "gb", "gibibytes"]),
    ("MiB", 1 << 20, &["m", "mb", "mebibytes"]),
    ("KiB", 1 << 10, &["k", "kb", "kibibytes"]),
    ("B", 1, &["bytes"]),
];

/// Reads a duration.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let nanos = parse(text, &DURATIONS, 1_000_000, "duration")?;
    Ok(Duration::from_nanos(nanos))
}

/// Reads a size in bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    parse(text, &SIZES, 1, "size")
}

/// Writes a duration in the largest unit that divides it.
pub(super) fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), &DURATIONS, "0 ms")
}

/// Writes a size in the largest unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES, "0 B")
}

type Units<'a> = &'a [(&'a str, u64, &'a [&'a str])];

fn parse(text: &str, units: Units<'_>, plain: u64, what: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = (&text[..end], text[end..].trim());
    if digits.is_empty() {
        return Err(format!("a {what} is a whole number and a unit"));
    }
    let factor = if unit.is_empty() { Some(plain) } else { factor_of(unit, units) };
    let factor = factor.ok_or_else(|| {
        let known: Vec<_> = units.iter().rev().map(|(name, ..)| *name).collect();
        format!("{unit:?} is not a unit of {what} (one of {})", known.join(", "))
    })?;
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("this {what} is too large"))
}

fn factor_of(unit: &str, units: Units<'_>) -> Option<u64> {
    let same = |name: &&str| name.eq_ignore_ascii_case(unit);
    units
        .iter()
        .find(|(name, _, others)| same(name) || others.iter().any(same))
        .map(|(_, factor, _)| *factor)
}

fn show(number: u64, units: Units<'_>, zero: &str) -> String {
    match units.iter().find(|(_, factor, _)| number != 0 && number.is_multiple_of(*factor)) {
        Some((name, factor, _)) => format!("{} {name}", number / factor),
        None => zero.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn flinks_spellings_are_read() {
        for (text, ms) in [
            ("10 s", 10_000),
            ("500ms", 500),
            ("1 min", 60_000),
            ("2m", 120_000),
            ("7 d", 604_800_000),
            ("250", 250),
            ("1 H", 3_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for (text, bytes) in [
            ("256 MiB", 256 << 20),
            ("64mb", 64 << 20),
            ("1kb", 1024),
            ("17", 17),
            ("2 GiB", 2 << 30),
            ("3 bytes", 3),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_the_reason() {
        assert!(parse_duration("soon").unwrap_err().contains("whole number"));
        assert!(parse_duration("-1 s").unwrap_err().contains("whole number"));
        assert!(parse_duration("10 parsecs").unwrap_err().contains("\"parsecs\""));
        assert!(parse_duration("1.5 s").is_err());
        assert!(parse_size("10 s").unwrap_err().contains("unit of size"));
        assert!(parse_size("99999999999 TiB").unwrap_err().contains("too large"));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(nanos: u64, bytes: u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
