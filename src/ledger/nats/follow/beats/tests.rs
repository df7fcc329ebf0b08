//! Followers around one stream, in a time that the test makes: messages take a millisecond, beats five.

use std::collections::BTreeMap;

use super::*;

const INTERVAL: Duration = Duration::from_secs(1);

/// A stream that all follow, and what is on its way.
struct World {
    start: Instant,
    now: Duration,
    followers: Vec<Option<Beats>>,
    nonces: Vec<(Duration, BeaterId, u64)>,
    beats: Vec<(Duration, v1::Beat)>,
    /// When beats came into the stream.
    written: Vec<Duration>,
    /// For each follower: the last proof, and the longest time for which its newest proof was ever old.
    proofs: BTreeMap<usize, (Duration, Duration)>,
    random: u64,
}

impl World {
    fn new(count: u8) -> Self {
        let start = Instant::now();
        let mut world = Self {
            start,
            now: Duration::ZERO,
            followers: Vec::new(),
            nonces: Vec::new(),
            beats: Vec::new(),
            written: Vec::new(),
            proofs: BTreeMap::new(),
            random: 0x9E37_79B9_7F4A_7C15,
        };
        (0..count).for_each(|id| world.join(id));
        world
    }

    fn join(&mut self, id: u8) {
        self.followers.push(Some(Beats::new([id; 8], INTERVAL, self.start + self.now)));
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += Duration::from_millis(1);
            self.step();
        }
    }

    fn step(&mut self) {
        let (now, at) = (self.start + self.now, self.now);
        let arrived = |due: Duration| due <= at;
        let nonces: Vec<_> = self.nonces.extract_if(.., |(due, _, _)| arrived(*due)).collect();
        for (_, whom, nonce) in nonces {
            for follower in self.followers.iter_mut().flatten().filter(|follower| follower.id() == whom) {
                follower.asked(&nonce.to_be_bytes(), now);
            }
        }
        let beats: Vec<_> = self.beats.extract_if(.., |(due, _)| arrived(*due)).collect();
        for (_, beat) in beats {
            self.written.push(at);
            for (index, follower) in self.followers.iter_mut().enumerate() {
                if let Some(drawn) = follower.as_mut().and_then(|follower| follower.seen(&beat, now)) {
                    let drawn = Duration::from_millis(drawn.millis());
                    let (last, worst) = self.proofs.get(&index).copied().unwrap_or((drawn, Duration::ZERO));
                    assert!(drawn >= last, "a proof is never older than the one before");
                    self.proofs.insert(index, (drawn, worst.max(at.saturating_sub(last))));
                }
            }
        }
        for follower in self.followers.iter_mut().flatten() {
            if follower.due() > now {
                continue;
            }
            let random = &mut self.random;
            let mut draw = || {
                *random ^= *random << 13;
                *random ^= *random >> 7;
                *random ^= *random << 17;
                *random
            };
            let boot = BootTime::from_millis(u64::try_from(at.as_millis()).expect("short"));
            for send in follower.act(now, boot, &mut draw) {
                match send {
                    Send::Nonce(whom, nonce) => self.nonces.push((at + Duration::from_millis(1), whom, nonce)),
                    Send::Beat(beat) => self.beats.push((at + Duration::from_millis(5), beat)),
                }
            }
        }
    }

    /// The longest that a proof of anyone was old, from now on.
    fn worst_over(&mut self, span: Duration) -> Duration {
        for (_, worst) in self.proofs.values_mut() {
            *worst = Duration::ZERO;
        }
        self.run(span);
        let alive = |index: &usize| self.followers.get(*index).is_some_and(Option::is_some);
        let at = self.now;
        let old = self.proofs.iter().filter(|(index, _)| alive(index));
        old.map(|(_, (last, worst))| (*worst).max(at.saturating_sub(*last))).max().expect("somebody")
    }

    fn written_over(&mut self, span: Duration) -> usize {
        let before = self.written.len();
        self.run(span);
        self.written.len() - before
    }
}

#[test]
fn one_alone_proves_each_interval_by_its_own_beats() {
    let mut world = World::new(1);
    world.run(Duration::from_secs(3));
    assert!(world.worst_over(Duration::from_secs(20)) < INTERVAL + Duration::from_millis(100));
    assert!((19..=21).contains(&world.written_over(Duration::from_secs(20))));
}

#[test]
fn many_share_one_beat() {
    for count in [2, 20, 200] {
        let mut world = World::new(count);
        world.run(Duration::from_secs(5));
        let worst = world.worst_over(Duration::from_secs(20));
        assert!(worst < INTERVAL + Duration::from_millis(250), "{count}: {worst:?}");
        let written = world.written_over(Duration::from_secs(20));
        assert!((18..=24).contains(&written), "{count} followers, {written} beats in 20 s");
    }
}

#[test]
fn who_comes_later_falls_into_step() {
    let mut world = World::new(1);
    for id in 1..=20 {
        world.run(Duration::from_millis(333));
        world.join(id);
    }
    world.run(Duration::from_secs(10));
    let written = world.written_over(Duration::from_secs(20));
    assert!((18..=25).contains(&written), "{written} beats in 20 s");
}

#[test]
fn another_takes_over_from_a_beater_that_is_gone() {
    let mut world = World::new(20);
    for _ in 0..5 {
        world.run(Duration::from_secs(5));
        let beater = world.followers.iter().flatten().find_map(|follower| follower.beater).expect("a beater");
        for follower in &mut world.followers {
            if follower.as_ref().is_some_and(|follower| follower.id() == beater) {
                *follower = None;
            }
        }
        let worst = world.worst_over(Duration::from_secs(5));
        assert!(worst < INTERVAL * 2, "{worst:?}");
    }
}

#[test]
fn a_beater_that_is_gone_is_not_asked_for_ever() {
    // An interval shorter than the patience with a beater, who is known from the stream's past only.
    for interval in [100, 200, 400, 60_000].map(Duration::from_millis) {
        let start = Instant::now();
        let mut beats = Beats::new([1; 8], interval, start);
        beats.seen(&v1::Beat { beater: vec![9; 8], nonces: vec![], next_millis: 7 }, start);
        let mut draw = || 5;
        let mut sent = None;
        for ms in 0..1000 {
            let now = start + Duration::from_millis(ms);
            let sends = beats.act(now, BootTime::from_millis(ms), &mut draw);
            if sent.is_none() && sends.iter().any(|send| matches!(send, Send::Beat(_))) {
                sent = Some(ms);
            }
        }
        assert!(sent.is_some_and(|ms| ms <= 420), "{interval:?}: {sent:?}");
    }
}

#[test]
fn a_nonce_that_comes_back_late_proves_the_time_at_which_it_was_drawn() {
    let start = Instant::now();
    let mut beats = Beats::new([1; 8], INTERVAL, start);
    let mut next = 0;
    let mut draw = || {
        next += 1;
        next
    };
    // Nothing comes back for a minute: old and new nonces are kept, and not all of them.
    let mut sent = Vec::new();
    for ms in 0..60_000 {
        let now = start + Duration::from_millis(ms);
        for send in beats.act(now, BootTime::from_millis(1000 + ms), &mut draw) {
            if let Send::Beat(beat) = send {
                sent.push(beat);
            }
        }
    }
    assert!(sent.len() > 50, "{}", sent.len());
    assert!(beats.wanted.len() <= WANTED_MAX, "{}", beats.wanted.len());
    let (oldest, drawn) = *beats.wanted.front().expect("one");
    assert_eq!(beats.waiting_since(), Some(drawn));
    let now = start + Duration::from_mins(1);
    let unknown = v1::Beat { beater: vec![1; 8], nonces: vec![u64::MAX], next_millis: 1000 };
    assert_eq!(beats.seen(&unknown, now), None);
    assert_eq!(beats.seen(&v1::Beat { beater: vec![1; 8], nonces: vec![oldest], next_millis: 1000 }, now), Some(drawn));
    let (newest, drawn) = *beats.wanted.back().expect("one");
    assert_eq!(beats.seen(&v1::Beat { beater: vec![1; 8], nonces: vec![newest], next_millis: 1000 }, now), Some(drawn));
    assert_eq!(beats.waiting_since(), None);
    assert_eq!(
        beats.seen(&v1::Beat { beater: vec![1; 8], nonces: vec![newest], next_millis: 1000 }, now),
        None,
        "it proves once"
    );
}

#[test]
fn what_is_no_beat_changes_nothing() {
    let start = Instant::now();
    let mut beats = Beats::new([1; 8], INTERVAL, start);
    assert_eq!(beats.seen(&v1::Beat::default(), start), None);
    assert_eq!(beats.beater, None);
    beats.asked(&[1, 2, 3], start);
    assert!(beats.gathered.is_empty());
    beats.asked(&vec![7; 8 * NONCES_MAX * 10], start);
    assert_eq!(beats.gathered.len(), NONCES_MAX * 4, "a flood is cut");
}
