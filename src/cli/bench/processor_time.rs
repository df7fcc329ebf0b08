//! How much processor time a process has taken: the one figure that other work on the machine hardly disturbs.

use std::time::Duration;

/// The kernel shows times in hundredths of a second on every architecture that Rust's tier 1 and 2 know.
/// Source: Linux, proc(5) and `USER_HZ`.
const TICK: Duration = Duration::from_millis(10);
/// Of the fields behind the name of the program, user time is the twelfth and system time follows.
const USER_TIME_FIELD: usize = 11;

/// The processor time of a process and all its threads since it began; nothing if the kernel does not tell.
pub(super) fn of(process: u32) -> Option<Duration> {
    parse(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

fn parse(stat: &str) -> Option<Duration> {
    // The name may have spaces and parentheses of its own.
    let (_, fields) = stat.rsplit_once(')')?;
    let times: Vec<u32> =
        fields.split_ascii_whitespace().skip(USER_TIME_FIELD).take(2).map_while(|field| field.parse().ok()).collect();
    match *times {
        [user, system] => Some(TICK * user.checked_add(system)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "17 (a b) c) S 1 17 17 0 -1 4194560 500 0 0 0 250 50 9 9 20 0 3 0 1000";
        assert_eq!(parse(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse("17 (a) S 1"), None);
        assert!(of(std::process::id()).is_some());
    }
}
