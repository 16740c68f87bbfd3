//! Durations on the command line: those of the session file.

use std::time::Duration;

/// `90s`, `1h 30m`, or seconds.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    match text.trim().parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text.trim()).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_session_file() {
        assert_eq!(span("90"), Ok(Duration::from_secs(90)));
        assert_eq!(span("1h 30m"), Ok(Duration::from_mins(90)));
        assert!(span("soon").is_err());
    }
}
