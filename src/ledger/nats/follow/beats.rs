//! Beats: how a follower proves that its view is fresh. Pure: events and times go in, what to send comes out.
//!
//! A follower draws a nonce and wants it in the stream. When a message with the nonce is delivered to it, behind all that
//! is before, then everything that was acknowledged before the nonce was drawn has been delivered: a stream takes the
//! message in by the consent of a majority, at a place behind all that a majority had taken in. Neither clocks, nor who
//! believes to be the leader, nor how far a copy lags matters.
//!
//! Many followers share one beat. Whose beat was the last in the stream is the *beater*: the others send it their nonces
//! a little before its next beat is due, and it writes them all in one message. If a nonce does not come back in time,
//! its follower writes a beat itself, and by that becomes the beater.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::BootTime;
use crate::proto::v1;

/// Who writes beats: 8 random bytes.
pub(super) type BeaterId = [u8; 8];

/// The most nonces in one beat: 32 KiB. Those beyond are for the next.
const NONCES_MAX: usize = 4096;
/// The most nonces that one follower waits for. Past it every second one is given up, so that both old and new are left.
const WANTED_MAX: usize = 16;
/// How long the beater collects nonces that come at any time: 20 ms.
const GATHER: Duration = Duration::from_millis(20);
/// How long before the beater's next beat the others send it their nonces: 50 ms, more than a message takes.
const LEAD: Duration = Duration::from_millis(50);
/// How long a nonce may take to come back by the beater before its follower writes a beat itself: 200 ms, or half an
/// interval if that is less, and up to as much again, by chance, so that of many one is first.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Send {
    /// A nonce, to the beater.
    Nonce(BeaterId, u64),
    /// A beat, to the stream.
    Beat(v1::Beat),
}

/// One follower's part in the beats of a ledger.
#[derive(Debug)]
pub(super) struct Beats {
    id: BeaterId,
    interval: Duration,
    /// The author of the last beat that was seen.
    beater: Option<BeaterId>,
    /// Nonces that have not come back, the oldest first.
    wanted: VecDeque<(u64, BootTime)>,
    /// The newest of them, as long as it is not in a beat of ours.
    asking: Option<Asking>,
    /// Nonces for our next beat.
    gathered: Vec<u64>,
    /// When our next beat is due.
    beat_at: Option<Instant>,
    /// When the last nonce was drawn.
    drawn: Option<Instant>,
    /// When the next one is.
    next: Instant,
}

#[derive(Debug)]
struct Asking {
    nonce: u64,
    whom: Option<BeaterId>,
    until: Instant,
}

impl Beats {
    /// Nothing is known of others yet.
    pub(super) fn new(id: BeaterId, interval: Duration, now: Instant) -> Self {
        Self {
            id,
            interval,
            beater: None,
            wanted: VecDeque::new(),
            asking: None,
            gathered: Vec::new(),
            beat_at: None,
            drawn: None,
            next: now,
        }
    }

    /// Who this follower is.
    pub(super) const fn id(&self) -> BeaterId {
        self.id
    }

    /// When [`Beats::act`] has something to do.
    pub(super) fn due(&self) -> Instant {
        let others = [self.beat_at, self.asking.as_ref().map(|asking| asking.until)];
        others.into_iter().flatten().fold(self.next, Instant::min)
    }

    /// When the oldest nonce that has not come back was drawn.
    pub(super) fn waiting_since(&self) -> Option<BootTime> {
        self.wanted.front().map(|(_, at)| *at)
    }

    /// What is to be sent now. `boot` is now on the clock that proofs are told in.
    pub(super) fn act(&mut self, now: Instant, boot: BootTime, random: &mut impl FnMut() -> u64) -> Vec<Send> {
        let mut sends = Vec::new();
        if now >= self.next {
            self.draw(now, boot, random, &mut sends);
        }
        if self.asking.as_ref().is_some_and(|asking| now >= asking.until)
            && let Some(asking) = self.asking.take()
        {
            if let Some(beater) = self.other_beater().filter(|beater| asking.whom != Some(*beater)) {
                // Somebody else was first.
                self.ask(beater, asking.nonce, now, random, &mut sends);
            } else {
                self.gathered.push(asking.nonce);
                self.beat_at = Some(now);
            }
        }
        if self.beat_at.is_some_and(|at| now >= at) {
            self.beat_at = None;
            if !self.gathered.is_empty() {
                let rest = self.gathered.split_off(self.gathered.len().min(NONCES_MAX));
                let nonces = std::mem::replace(&mut self.gathered, rest);
                self.beat_at = (!self.gathered.is_empty()).then_some(now + GATHER);
                let next = self.next.saturating_duration_since(now) + GATHER;
                let next_millis = u32::try_from(next.as_millis()).unwrap_or(u32::MAX);
                sends.push(Send::Beat(v1::Beat { beater: self.id.to_vec(), nonces, next_millis }));
            }
        }
        sends
    }

    /// Takes nonces that others sent to us.
    pub(super) fn asked(&mut self, nonces: &[u8], now: Instant) {
        let room = NONCES_MAX.saturating_mul(4).saturating_sub(self.gathered.len());
        let nonces = nonces.chunks_exact(8).filter_map(|nonce| nonce.try_into().ok()).map(u64::from_be_bytes);
        self.gathered.extend(nonces.take(room));
        if self.gathered.is_empty() || self.beat_at.is_some() {
            return;
        }
        // Our own next nonce takes them along, where that is soon.
        let soon = self.beater == Some(self.id) && self.next <= now + LEAD * 2;
        self.beat_at = Some(if soon { self.next.max(now) + GATHER } else { now + GATHER });
    }

    /// Takes a beat out of the stream. Gives the time before which everything that was acknowledged lies before it, if it
    /// carries a nonce of ours.
    pub(super) fn seen(&mut self, beat: &v1::Beat, now: Instant) -> Option<BootTime> {
        let Ok(author) = BeaterId::try_from(beat.beater.as_slice()) else { return None };
        self.beater = Some(author);
        let newest = self.wanted.iter().rposition(|(nonce, _)| beat.nonces.contains(nonce));
        if self.asking.as_ref().is_some_and(|asking| beat.nonces.contains(&asking.nonce)) {
            self.asking = None;
        }
        let proof = newest.and_then(|newest| self.wanted.drain(..=newest).next_back()).map(|(_, at)| at);
        // All but the beater fall into its step, where that is near their own.
        if let Some(drawn) = self.drawn.filter(|_| author != self.id) {
            let step = now + Duration::from_millis(beat.next_millis.into());
            let step = step.checked_sub(self.lead()).unwrap_or(now);
            let (earliest, latest) = (drawn + self.interval / 2, drawn + self.interval * 3 / 2);
            let step = if step < earliest { step + self.interval } else { step };
            self.next = if (earliest..=latest).contains(&step) { step } else { drawn + self.interval };
        }
        proof
    }

    fn draw(&mut self, now: Instant, boot: BootTime, random: &mut impl FnMut() -> u64, sends: &mut Vec<Send>) {
        let nonce = random();
        if self.wanted.len() == WANTED_MAX {
            let mut index = 0;
            self.wanted.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
        self.wanted.push_back((nonce, boot));
        self.drawn = Some(now);
        // The step is kept, but for what was missed.
        self.next = (self.next + self.interval).max(now + self.interval / 2);
        match self.beater {
            Some(beater) if beater == self.id => {
                self.gathered.push(nonce);
                self.beat_at = Some(self.beat_at.unwrap_or(now + GATHER).min(now + GATHER));
            }
            Some(beater) => self.ask(beater, nonce, now, random, sends),
            None => {
                let until = now + chance(self.patience(), random);
                self.want(nonce, None, until);
            }
        }
    }

    fn ask(
        &mut self,
        beater: BeaterId,
        nonce: u64,
        now: Instant,
        random: &mut impl FnMut() -> u64,
        sends: &mut Vec<Send>,
    ) {
        let until = now + self.patience() + chance(self.patience(), random);
        self.want(nonce, Some(beater), until);
        sends.push(Send::Nonce(beater, nonce));
    }

    /// Waits for the newest nonce, and no longer than for one that is still waited for: else a beater that is gone would be
    /// asked again and again.
    fn want(&mut self, nonce: u64, whom: Option<BeaterId>, until: Instant) {
        let until = self.asking.take().map_or(until, |before| before.until.min(until));
        self.asking = Some(Asking { nonce, whom, until });
    }

    fn patience(&self) -> Duration {
        PATIENCE.min(self.interval / 2)
    }

    fn other_beater(&self) -> Option<BeaterId> {
        self.beater.filter(|beater| *beater != self.id)
    }

    fn lead(&self) -> Duration {
        LEAD.min(self.interval / 4)
    }
}

/// A span below another, by chance.
fn chance(below: Duration, random: &mut impl FnMut() -> u64) -> Duration {
    let millis = u64::try_from(below.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(random() % millis)
}

#[cfg(test)]
mod tests;
