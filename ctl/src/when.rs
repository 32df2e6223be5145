//! Times for people. All are milliseconds since the Unix epoch; 0 is never or unknown.

use std::time::{SystemTime, UNIX_EPOCH};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Now.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// "5 min ago"; beyond a month, the date.
pub(crate) fn ago(now: u64, then: u64) -> String {
    if then == 0 {
        return "never".to_owned();
    }
    match now.saturating_sub(then) / 1000 {
        0..45 => "just now".to_owned(),
        s @ 45..HOUR => format!("{} min ago", s.div_ceil(MINUTE)),
        s @ HOUR..DAY => format!("{} h ago", s / HOUR),
        s if s < 2 * DAY => "a day ago".to_owned(),
        s if s < 31 * DAY => format!("{} days ago", s / DAY),
        _ => date(then)[..10].to_owned(),
    }
}

/// How long from now on: "90 s", "5 min".
pub(crate) fn left(now: u64, then: u64) -> String {
    match then.saturating_sub(now).div_ceil(1000) {
        s @ 0..180 => format!("{s} s"),
        s => format!("{} min", s / MINUTE),
    }
}

/// A length of time: "30 days", "12 h".
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        s if s >= 2 * DAY => format!("{} days", s / DAY),
        s if s >= HOUR => format!("{} h", s / HOUR),
        s => format!("{s} s"),
    }
}

/// "2026-11-24 10:38 UTC".
pub(crate) fn date(then: u64) -> String {
    if then == 0 {
        return "never".to_owned();
    }
    let seconds = then / 1000;
    let (year, month, day) = civil(seconds / DAY);
    let (hour, minute) = (seconds % DAY / HOUR, seconds % HOUR / MINUTE);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// Year, month and day of a day counted from 1970-01-01, after Howard Hinnant's `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "never");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_795_517_880_000), "2026-11-24 10:58 UTC");
        assert_eq!(date(1_767_225_599_999), "2025-12-31 23:59 UTC");
    }

    #[test]
    fn ages() {
        let now = 1_795_517_880_000;
        let back = |seconds: u64| ago(now, now - seconds * 1000);
        assert_eq!(back(3), "just now");
        assert_eq!(back(61), "2 min ago");
        assert_eq!(back(7200), "2 h ago");
        assert_eq!(back(25 * 3600), "a day ago");
        assert_eq!(back(3 * 86_400), "3 days ago");
        assert_eq!(back(60 * 86_400), "2026-09-25");
        assert_eq!(ago(now, now + 5000), "just now", "a clock that is ahead");
    }

    #[test]
    fn spans() {
        assert_eq!(left(1000, 91_000), "90 s");
        assert_eq!(left(0, 300_000), "5 min");
        assert_eq!(span(30 * 86_400), "30 days");
        assert_eq!(span(43_200), "12 h");
    }
}
