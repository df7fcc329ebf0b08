//! When the calls of an open loop are due.
//!
//! A thread of its own, because the runtime's timers tick in milliseconds, which at a thousand calls a second would be
//! most of the latency that is shown.

use std::io;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::tally::Window;

/// Tells each of the receivers in turn when its next call is due, at an even rate a second, until the window ends or
/// nobody listens. Who is late finds the moment that was meant.
///
/// # Errors
/// If the system gives no thread.
pub(super) fn start(window: Window, rate: f64, receivers: Vec<UnboundedSender<Instant>>) -> io::Result<()> {
    let pace = move || {
        let mut offset_seconds = 0.0;
        for due in receivers.iter().cycle() {
            let moment = window.start + Duration::from_secs_f64(offset_seconds);
            if moment >= window.end {
                return;
            }
            let wait = moment.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            if due.send(moment).is_err() {
                return;
            }
            offset_seconds += 1.0 / rate;
        }
    };
    std::thread::Builder::new().name("consentd-pace".to_owned()).spawn(pace).map(|_| ())
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[test]
    fn calls_are_due_evenly_and_in_turn() {
        let window = Window::new(Instant::now(), Duration::ZERO, Duration::from_millis(50));
        let (one, mut ones) = unbounded_channel();
        let (other, mut others) = unbounded_channel();
        start(window, 1000.0, vec![one, other]).expect("a thread");
        let mut moments = Vec::new();
        while let Some(moment) = ones.blocking_recv() {
            moments.push(moment);
            moments.extend(others.blocking_recv());
        }
        assert_eq!(moments.len(), 50);
        for (place, moment) in moments.iter().enumerate() {
            let meant = window.start + Duration::from_millis(place as u64);
            let off = (*moment).max(meant) - (*moment).min(meant);
            assert!(off < Duration::from_micros(1), "call {place} is due {off:?} off");
        }
    }
}
