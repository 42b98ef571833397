//! Log lines: plain, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::bar::{Bar, LogWriter};
use crate::config::LOG_VARIABLE;
use crate::error::{Error, Result};

/// Starts logging: what `MILLPOND_LOG` says, such as `millpond=debug`, or else `-v`. A logger that a user's
/// binary has already set stays.
///
/// # Errors
/// [`crate::ErrorKind::Usage`] where the filter is wrong.
pub(super) fn start(verbose: u8, bar: &Bar) -> Result<()> {
    let filter = filter(verbose, std::env::var(LOG_VARIABLE).ok().as_deref())?;
    let bar = bar.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(move || LogWriter(bar.clone()))
        .finish();
    drop(tracing::subscriber::set_global_default(subscriber));
    Ok(())
}

fn filter(verbose: u8, variable: Option<&str>) -> Result<EnvFilter> {
    let level = match verbose {
        0 => "warn",
        1 => "warn,millpond=info",
        2 => "info,millpond=debug",
        _ => "debug,millpond=trace",
    };
    let text = variable.filter(|text| !text.is_empty()).unwrap_or(level);
    EnvFilter::try_new(text).map_err(|e| {
        Error::usage(format!(
            "{LOG_VARIABLE}={text:?} is no log filter: {e}; for example: millpond=debug"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_flag_and_a_wrong_one_is_told() {
        assert_eq!(filter(0, None).unwrap().to_string(), "warn");
        assert!(filter(3, None).unwrap().to_string().contains("millpond=trace"));
        assert_eq!(filter(3, Some("error")).unwrap().to_string(), "error");
        let error = filter(0, Some("millpond=loud")).unwrap_err().to_string();
        assert!(error.contains("MILLPOND_LOG=\"millpond=loud\""), "{error}");
    }
}
