//! What a table's provisioned capacity makes of the sizes of segments and log.
//!
//! Owns the rule. It takes the capacity that was found rather than the one that was configured, since a
//! table that must not be managed keeps its own.

use super::StateSettings;

/// Smallest segment, in bytes before compression.
const LEAST_SEGMENT: u64 = 4 << 10;
/// What one write unit writes, in bytes.
const WRITE_UNIT: u64 = 1 << 10;

impl StateSettings {
    /// The settings on a table of (read, write) provisioned units a second; `None`, on demand, changes
    /// nothing.
    ///
    /// A segment takes no more than a second's write units, so that whatever else is written waits no longer
    /// for it, but 4 KiB at least and unless its size was configured. The log in the table is cleaned beyond what
    /// its read units replay in [`restore_target`](Self::restore_target).
    #[must_use]
    pub fn on_capacity(&self, provisioned: Option<(u64, u64)>) -> Self {
        let mut settings = self.clone();
        if let Some((read, write)) = provisioned {
            if !settings.segment_fixed {
                let second = write.saturating_mul(WRITE_UNIT).max(LEAST_SEGMENT);
                settings.segment_bytes = settings.segment_bytes.min(second);
            }
            settings.log_read_units = (read as f64 * settings.restore_target.as_secs_f64()) as u64;
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_segment_is_a_second_of_writing_and_the_log_what_is_read_in_time() {
        let settings = Config::default().state;
        assert_eq!(settings.on_capacity(None), settings);
        let twenty = settings.on_capacity(Some((20, 7)));
        assert_eq!(twenty.segment_bytes, 7 << 10);
        assert_eq!(twenty.log_read_units, 20 * 30);
        assert_eq!(twenty.log_max_bytes, settings.log_max_bytes, "memory is another thing");
        let many = settings.on_capacity(Some((u64::MAX, u64::MAX)));
        assert_eq!(many.segment_bytes, settings.segment_bytes);
        let least = StateSettings { restore_target: Duration::from_millis(1), ..settings.clone() };
        let least = least.on_capacity(Some((1, 1)));
        assert_eq!((least.segment_bytes, least.log_read_units), (4 << 10, 0));
        let fixed = StateSettings { segment_fixed: true, ..settings.clone() };
        assert_eq!(fixed.on_capacity(Some((20, 7))).segment_bytes, settings.segment_bytes);
    }
}
