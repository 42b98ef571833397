//! What becomes of calls to the in-memory twin: drawn for each one from the seed.
//!
//! Owns the draws. What a fate does to a call is `twin`'s. Over the embedded DynamoDB the hostile HTTP
//! client does the same, one floor further down.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Season {
    /// The share of calls that something happens to.
    pub(super) trouble: f64,
    /// The share of calls, of those that something happens to, that are throttled.
    pub(super) throttled: f64,
    /// A call takes up to so long in each direction.
    pub(super) latency: Duration,
    /// Nothing comes through at all.
    pub(super) outage: bool,
    /// The share of the head's writes that besides all this arrive once more, or without an answer,
    /// while their sender lives on: it has moved the head on by then.
    pub(super) echoes: f64,
    /// Of what happens to calls, one in twenty is that they are refused for good, as no real store does.
    pub(super) refusals: bool,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    /// Applied and answered.
    Clear,
    /// Refused, surely not applied.
    Throttled,
    /// Lost on its way.
    Lost,
    /// Applied; the answer is lost.
    Unanswered,
    /// As lost, but it arrives after this time.
    Late(Duration),
    /// Applied and answered, and applied again after this time.
    Twice(Duration),
    /// A part of it is applied, by this measure from 0 to 1; the answer is lost.
    Partly(f64),
    /// Refused for good.
    Refused,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear => f.write_str("clear"),
            Self::Throttled => f.write_str("throttled"),
            Self::Lost => f.write_str("lost"),
            Self::Unanswered => f.write_str("applied, answer lost"),
            Self::Late(delay) => write!(f, "lost, arrives after {delay:?}"),
            Self::Twice(delay) => write!(f, "applied, once more after {delay:?}"),
            Self::Partly(_) => f.write_str("applied in part, answer lost"),
            Self::Refused => f.write_str("refused for good"),
        }
    }
}

/// The weather of one run. Clones share it.
#[derive(Clone)]
pub(super) struct Weather(Arc<Mutex<Sky>>);

struct Sky {
    random: StdRng,
    season: Season,
}

impl fmt::Debug for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Weather")
    }
}

impl Weather {
    /// Fine weather, until told otherwise.
    pub(super) fn new(seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self(Arc::new(Mutex::new(Sky { random, season: Season::default() })))
    }

    /// Changes from now on.
    pub(super) fn set(&self, season: Season) {
        self.lock().season = season;
    }

    /// The fate of the next write of the head; as [`Weather::draw`].
    pub(super) fn draw_of_head(&self) -> (Fate, Duration, Duration) {
        let drawn = self.draw();
        let mut sky = self.lock();
        let Sky { random, season } = &mut *sky;
        if drawn.0 != Fate::Clear || season.echoes == 0.0 || !random.random_bool(season.echoes) {
            return drawn;
        }
        let soon = Duration::from_millis(random.random_range(1..=40));
        let fate = match random.random_range(0..4) {
            0 => Fate::Unanswered,
            1 => Fate::Late(soon),
            _ => Fate::Twice(soon),
        };
        (fate, drawn.1, drawn.2)
    }

    /// The fate of the next call, and how long it takes there and back.
    pub(super) fn draw(&self) -> (Fate, Duration, Duration) {
        let mut sky = self.lock();
        let Sky { random, season } = &mut *sky;
        let longest = season.latency.as_micros() as u64;
        let mut way = || Duration::from_micros(random.random_range(0..=longest));
        let (there, back) = (way(), way());
        if season.outage {
            return (Fate::Lost, there, back);
        }
        if season.trouble == 0.0 || !random.random_bool(season.trouble) {
            return (Fate::Clear, there, back);
        }
        if random.random_bool(season.throttled) {
            return (Fate::Throttled, there, back);
        }
        (Self::trouble(random, season.refusals), there, back)
    }

    fn trouble(random: &mut StdRng, refusals: bool) -> Fate {
        let later = |random: &mut StdRng| {
            // Mostly soon enough to meet its sender's successor; now and then after all is over.
            let ms = [30, 300, 3_000, 300_000][random.random_range(0..4)];
            Duration::from_millis(random.random_range(1..=ms))
        };
        match random.random_range(0..20) {
            0..=3 => Fate::Lost,
            4..=8 => Fate::Unanswered,
            9..=12 => Fate::Late(later(random)),
            13..=15 => Fate::Twice(later(random)),
            16..=18 => Fate::Partly(random.random_range(0.0..1.0)),
            _ if refusals => Fate::Refused,
            _ => Fate::Lost,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sky> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
