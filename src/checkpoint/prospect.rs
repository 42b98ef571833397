//! What the first attempt of a process would begin from, and who looks at it before anything is claimed.
//!
//! Owns the two types. When the look is taken, and what follows where it fails, is `claim`'s; what is looked at,
//! `runtime`'s.

use futures::future::BoxFuture;

use super::manifest::Manifest;
use crate::error::Result;
use crate::ids::{Attempt, Incarnation};

/// What an attempt would begin from, if its claim is won.
#[derive(Clone, Copy, Debug)]
pub struct Prospect<'a> {
    /// The incarnation that it would go on with or begin.
    pub incarnation: Incarnation,
    /// Its number.
    pub attempt: Attempt,
    /// Of the checkpoint that it would go on from, the one of a roll-back too; `None` where it would begin with
    /// nothing.
    pub manifest: Option<&'a Manifest>,
}

/// Looks at what a start will need, before anything is claimed.
pub trait Inspect: Send + Sync + 'static {
    /// Fails where the attempt would fail: then nothing is claimed, and the table is left as it was. What has been
    /// looked at is what the claim goes on from, or the look is taken again.
    ///
    /// # Errors
    /// Whatever the attempt would fail with.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    fn inspect<'a>(&'a self, prospect: Prospect<'a>) -> BoxFuture<'a, Result<()>>;
}
