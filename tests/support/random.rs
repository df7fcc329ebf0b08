//! Random catalogues, histories and questions over small alphabets, so that ties and collisions happen all the time.

use std::sync::OnceLock;
use std::time::Duration;

use consentd::domain::catalogue::{
    Acceptance, MinorRule, MinorTreatment, NoticeVersion, QuietHours, Region, Regional, UnknownAge,
};
use consentd::domain::{
    Birth, Catalogue, CatalogueParts, Collection, Day, Decision, Defects, Freshness, Heard, LedgerStanding, LegalBasis,
    Notice, NoticeRule, Position, Purpose, Question, Record, Restriction, Signals, Status, SubjectState, SubjectView,
    Terms, Time, TokenStanding, UnreadableMark, Zone, decide,
};
use proptest::bool;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, Strategy, prop_oneof};
use proptest::sample::{select, subsequence};

use crate::history::{Happening, What};

/// The purposes of every random catalogue; one may require those after it.
pub(crate) static PURPOSES: [&str; 5] = ["a", "a.b", "a.b.c", "ab", "r"];
/// Where questions say that the subject is.
pub(crate) const PLACES: [&str; 6] = ["TR", "DE", "FR", "US", "US-ME", "US-CA"];
/// Event times and `now`, in steps of this many milliseconds: a quarter of a day, so that days, hours and years of age
/// all come into it.
pub(crate) const STEP_MS: i64 = 6 * 3_600_000;
/// Everything about clocks is a multiple of this.
pub(crate) const QUARTER_MS: i64 = 15 * 60_000;

/// A question with everything that it is answered from, but the subject.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) catalogue: Option<Catalogue>,
    pub(crate) purpose: String,
    pub(crate) channel: String,
    pub(crate) recipient: String,
    pub(crate) sec_gpc: String,
    pub(crate) tcf: String,
    pub(crate) gpp: String,
    pub(crate) jurisdiction: String,
    pub(crate) time_zone: Option<&'static Zone>,
    pub(crate) max_staleness: Option<Duration>,
    pub(crate) freshness: Freshness,
    pub(crate) now: Time,
}

impl Asked {
    pub(crate) fn question(&self) -> Question<'_> {
        Question {
            purpose: &self.purpose,
            channel: &self.channel,
            recipient: &self.recipient,
            jurisdiction: &self.jurisdiction,
            signals: Signals { sec_gpc: &self.sec_gpc, tcf: &self.tcf, gpp: &self.gpp },
            heard: Heard::default(),
            max_staleness: self.max_staleness,
            time_zone: self.time_zone,
        }
    }

    pub(crate) fn of<'a>(&'a self, state: &'a SubjectState) -> Decision<'a> {
        self.of_view(SubjectView::State(state))
    }

    pub(crate) fn of_view<'a>(&'a self, view: SubjectView<'a>) -> Decision<'a> {
        decide(&self.question(), view, self.catalogue.as_ref(), &self.freshness, self.now)
    }
}

/// Clocks that no place has: one that stands, and some that are changed soon, later, often, and over midnight.
pub(crate) fn zones() -> &'static [Zone] {
    static ZONES: OnceLock<Vec<Zone>> = OnceLock::new();
    ZONES.get_or_init(|| {
        let zone = |name: &str, before: i32, changes: &[(i64, i32)]| {
            let quarters = |(at, offset): &(i64, i32)| (Time::from_unix_millis(at * QUARTER_MS), offset * 900);
            Zone::new(name, before * 900, changes.iter().map(quarters).collect())
        };
        vec![
            zone("Test/Fixed", 12, &[]),
            zone("Test/Spring", 4, &[(26 * 4, 8)]),
            zone("Test/Autumn", 8, &[(31 * 4 + 2, 4)]),
            zone("Test/Often", -20, &[(20 * 4, -18), (40 * 4, -22), (41 * 4, -20), (80 * 4, 20), (9 * 96, 24)]),
            zone("Test/Later", 0, &[(160 * 4, 4), (200 * 4, 0)]),
        ]
    })
}

fn zone() -> impl Strategy<Value = &'static Zone> {
    (0..zones().len()).prop_map(|place| &zones()[place])
}

/// So many steps.
pub(crate) fn steps(count: u64) -> Duration {
    Duration::from_millis(STEP_MS.unsigned_abs()) * u32::try_from(count).expect("few")
}

fn time() -> impl Strategy<Value = Time> {
    (0..10_i64).prop_map(|step| Time::from_unix_millis(step * STEP_MS))
}

fn basis() -> impl Strategy<Value = LegalBasis> {
    prop_oneof![
        6 => Just(LegalBasis::Consent),
        3 => Just(LegalBasis::ExplicitConsent),
        1 => select(LegalBasis::ALL),
    ]
}

fn notice() -> impl Strategy<Value = Notice> {
    (1..4_u32, select(vec!["n", "other"])).prop_map(|(version, id)| Notice {
        version,
        id: id.into(),
        language: "tr".into(),
    })
}

fn record(status: impl Strategy<Value = Status>) -> impl Strategy<Value = Record> {
    let defects = prop_oneof![10 => Just(0_u16), 1 => 0..512_u16, 2 => (0..9_u32).prop_map(|bit| 1 << bit)];
    let collection = (defects, bool::weighted(0.2), select(vec!["web_form", "web_form", "paper", ""])).prop_map(
        |(bits, by_guardian, method)| Collection {
            defects: Defects::from_bits(bits),
            by_guardian,
            method: method.into(),
        },
    );
    let facts = (basis(), collection, option::weighted(0.8, notice()), option::weighted(0.3, time()));
    (time(), status, facts, 1..40_u64, bool::weighted(0.8)).prop_map(|(event_time, status, facts, position, proved)| {
        let (legal_basis, collection, notice, expires_at) = facts;
        Record {
            event_time,
            status,
            legal_basis,
            collection,
            notice,
            expires_at,
            jurisdiction: "".into(),
            proof: if proved { "p".into() } else { "".into() },
            position: Position(position),
        }
    })
}

/// Where somebody was at a time: so that of one moment there are not two places, between which nothing would decide.
fn whereabouts(at: Time, purpose: &str) -> &'static str {
    const PLACES: [&str; 11] = ["", "", "TR", "", "DE", "TR", "", "US-ME", "", "US", "FR"];
    let step = usize::try_from(at.unix_millis() / STEP_MS).expect("few");
    PLACES[(step * 3 + purpose.len()) % PLACES.len()]
}

/// Something said; a refusal or a request may be for all recipients, and so may, against the rules, an agreement.
fn said(status: impl Strategy<Value = Status>) -> impl Strategy<Value = What> {
    let purpose = select(vec!["a", "a.b", "a.b", "a.b.c", "a.b.c", "ab", "r", "x"]);
    let channel = select(vec!["email", "email", "sms", "*"]);
    let recipient = select(vec!["", "", "", "acme", "*"]);
    (purpose, channel, recipient, record(status)).prop_map(|(purpose, channel, recipient, mut record)| {
        record.jurisdiction = whereabouts(record.event_time, purpose).into();
        What::Said { purpose: purpose.into(), channel: channel.into(), recipient: recipient.into(), record }
    })
}

fn unreadable() -> impl Strategy<Value = What> {
    (0..3_u8, 1..4_u64, option::weighted(0.7, time())).prop_map(|(id, position, event_time)| {
        let event_id = if id == 0 { format!("@{position}") } else { format!("e{id}") };
        What::Unreadable(UnreadableMark { event_id: event_id.into(), position: Position(position), event_time })
    })
}

fn restricted(restricted: impl Strategy<Value = bool>) -> impl Strategy<Value = What> {
    (select(vec!["", "a", "a.b", "ab", "r", "x"]), time(), restricted).prop_map(|(purpose, event_time, restricted)| {
        What::Restricted(Restriction { purpose: purpose.into(), event_time, restricted })
    })
}

/// A day on which, or about which, somebody becomes one or two years old within the steps.
fn born() -> impl Strategy<Value = Birth> {
    (time(), select(vec![-365, -730]), -3..4_i32)
        .prop_map(|(event_time, years, days)| Birth { event_time, born: Day::from_unix_days(years + days) })
}

/// A restriction of any time.
pub(crate) fn restriction() -> impl Strategy<Value = Happening> {
    restricted(Just(true)).prop_map(plain)
}

/// A record of the register of refusals, of any time.
pub(crate) fn refusal() -> impl Strategy<Value = Happening> {
    said(select(vec![Status::Refused, Status::Withdrawn, Status::Revoked, Status::Invalidated])).prop_map(plain)
}

/// The end of an agreement.
pub(crate) fn expiry() -> impl Strategy<Value = Happening> {
    said(Just(Status::Expired)).prop_map(plain)
}

/// An erasure.
pub(crate) fn erasure() -> impl Strategy<Value = Happening> {
    time().prop_map(What::Erased).prop_map(plain)
}

/// An event that cannot be read.
pub(crate) fn unreadable_event() -> impl Strategy<Value = Happening> {
    unreadable().prop_map(plain)
}

fn plain(what: What) -> Happening {
    Happening { supersedes: Vec::new(), what }
}

/// Up to ten events about one subject.
pub(crate) fn history() -> impl Strategy<Value = Vec<Happening>> {
    let status = prop_oneof![
        8 => Just(Status::Given),
        2 => Just(Status::Renewed),
        5 => select(Status::ALL),
    ];
    let what = prop_oneof![
        24 => said(status),
        2 => time().prop_map(What::Erased),
        2 => unreadable(),
        1 => restricted(bool::ANY),
        2 => born().prop_map(What::Born),
    ];
    let supersedes = prop_oneof![
        9 => Just(Vec::new()),
        1 => subsequence(vec!["e1", "e2", "@1", "@2"], 1..3),
    ];
    let happening = (what, supersedes)
        .prop_map(|(what, ids)| Happening { supersedes: ids.into_iter().map(Into::into).collect(), what });
    vec((happening, bool::weighted(0.3)), 0..10).prop_map(|drawn| {
        let mut history: Vec<Happening> = Vec::new();
        for (mut happening, echoes) in drawn {
            if let Some(before) = history.last().filter(|_| echoes) {
                echo(before, &mut happening);
            }
            history.push(happening);
        }
        history
    })
}

/// Moves a record to the place and moment of another, so that the two tie in all but what they say.
fn echo(before: &Happening, happening: &mut Happening) {
    if let (
        What::Said { purpose: p, channel: c, recipient: r, record: earlier },
        What::Said { purpose, channel, recipient, record },
    ) = (&before.what, &mut happening.what)
    {
        purpose.clone_from(p);
        channel.clone_from(c);
        recipient.clone_from(r);
        record.event_time = earlier.event_time;
        record.jurisdiction.clone_from(&earlier.jurisdiction);
    }
}

fn notice_rule() -> impl Strategy<Value = NoticeRule> {
    let version = (bool::ANY, option::weighted(0.6, time()));
    (prop_oneof![1 => Just(0), 2 => 1..4_u32], vec(version, 0..4)).prop_map(|(material_since, versions)| NoticeRule {
        id: "n".into(),
        material_since,
        versions: (1..)
            .zip(versions)
            .map(|(version, (material, effective_at))| NoticeVersion { version, material, effective_at })
            .collect(),
    })
}

fn minor_rule() -> impl Strategy<Value = MinorRule> {
    let treatment = select(vec![MinorTreatment::Deny, MinorTreatment::Guardian, MinorTreatment::Guardian]);
    let unknown_age = select(vec![UnknownAge::Deny, UnknownAge::Adult, UnknownAge::Adult]);
    (1..3_u8, treatment, unknown_age).prop_map(|(under, treatment, unknown_age)| MinorRule {
        under,
        treatment,
        unknown_age,
    })
}

/// Quiet hours in quarters of hours, on some days or on all.
pub(crate) fn quiet_hours() -> impl Strategy<Value = QuietHours> {
    let channels = prop_oneof![3 => Just(Vec::new()), 1 => Just(vec!["email"]), 1 => Just(vec!["sms"])];
    let days = prop_oneof![3 => Just([true; 7]), 2 => proptest::array::uniform7(bool::ANY)];
    let hour = || prop_oneof![2 => (0..96_u16).prop_map(|quarter| quarter * 15), 1 => Just(0_u16)];
    (channels, hour(), hour(), days, option::weighted(0.8, zone())).prop_map(|(channels, from, until, days, zone)| {
        QuietHours {
            channels: channels.into_iter().map(Into::into).collect(),
            from,
            until,
            days: if days == [false; 7] { [true; 7] } else { days },
            zone,
        }
    })
}

/// Terms that may require these purposes.
fn terms(requirable: &'static [&'static str]) -> BoxedStrategy<Terms> {
    let basis = prop_oneof![4 => basis(), 2 => Just(LegalBasis::LegitimateInterest), 1 => select(LegalBasis::ALL)];
    let channels = prop_oneof![6 => Just(vec!["email", "sms"]), 1 => select(vec![vec!["email"], vec!["sms"]])];
    let requires = prop_oneof![4 => Just(Vec::new()), 1 => subsequence(requirable.to_vec(), 0..=requirable.len())];
    let spans = (option::weighted(0.3, 1..8_u64), 2..8_u64);
    let methods = select(vec![vec!["web_form"], vec!["paper"], vec!["web_form", "paper"]]);
    let accepts = (prop_oneof![8 => Just(Vec::new()), 1 => methods], bool::weighted(0.1));
    let quiet = prop_oneof![8 => Just(Vec::new()), 2 => vec(quiet_hours(), 1..3)];
    let flags = (bool::ANY, bool::ANY, bool::weighted(0.3), bool::weighted(0.03));
    let more = (option::weighted(0.2, notice_rule()), option::weighted(0.15, minor_rule()), accepts, quiet);
    (basis, channels, requires, spans, flags, more)
        .prop_map(|(legal_basis, channels, requires, spans, flags, more)| {
            let (max_age, max_staleness) = spans;
            let (covered_by_parent, honours_gpc, despite_restriction, prohibited) = flags;
            let (notice, minors, (methods, proof_required), quiet_hours) = more;
            Terms {
                prohibited,
                legal_basis,
                channels: channels.into_iter().map(Into::into).collect(),
                max_age: max_age.map(steps),
                max_staleness: steps(max_staleness),
                covered_by_parent,
                notice,
                requires: requires.into_iter().map(Into::into).collect(),
                honours_gpc,
                accepts: Acceptance { methods: methods.into_iter().map(Into::into).collect(), proof_required },
                minors,
                despite_restriction,
                quiet_hours,
                ..Terms::default()
            }
        })
        .boxed()
}

/// A rule for some regions.
pub(crate) fn regional(place: usize) -> impl Strategy<Value = Regional> {
    let regions = subsequence(vec!["TR", "EU", "DE", "US", "US-ME"], 1..3);
    (regions, terms(&PURPOSES[place + 1..])).prop_map(|(regions, terms)| Regional {
        regions: regions.into_iter().map(Into::into).collect(),
        source: "a law".into(),
        terms,
    })
}

fn purpose(place: usize) -> BoxedStrategy<Purpose> {
    let regional = prop_oneof![2 => Just(Vec::new()), 1 => vec(regional(place), 1..4)];
    (terms(&PURPOSES[place + 1..]), regional)
        .prop_map(move |(terms, regional)| Purpose { regional, ..Purpose::new(PURPOSES[place], terms) })
        .boxed()
}

/// A catalogue of these purposes, with one group of regions and two clocks.
pub(crate) fn catalogue_of(purposes: Vec<Purpose>) -> Catalogue {
    let region = |key: &str, members: &[&str], zone: Option<usize>| Region {
        key: key.into(),
        title: "".into(),
        members: members.iter().map(|member| (*member).into()).collect(),
        zone: zone.map(|place| &zones()[place]),
    };
    Catalogue::new(CatalogueParts {
        version: 1,
        channels: ["email", "sms", "push"].map(|key| (key.into(), "".into())).to_vec(),
        purposes,
        regions: vec![region("EU", &["DE", "FR"], None), region("TR", &[], Some(0)), region("US", &[], Some(3))],
        ..CatalogueParts::default()
    })
    .expect("sound by construction")
}

fn catalogue() -> BoxedStrategy<Catalogue> {
    (purpose(0), purpose(1), purpose(2), purpose(3), purpose(4))
        .prop_map(|(a, b, c, d, e)| catalogue_of(vec![a, b, c, d, e]))
        .boxed()
}

fn freshness() -> impl Strategy<Value = Freshness> {
    let ledger = prop_oneof![
        30 => Just(LedgerStanding::Following),
        1 => Just(LedgerStanding::Building),
        1 => Just(LedgerStanding::Broken),
    ];
    let token = prop_oneof![
        30 => Just(TokenStanding::Reached),
        1 => Just(TokenStanding::NotReached),
        1 => Just(TokenStanding::Foreign),
    ];
    let staleness = prop_oneof![6 => 0..2000_u32, 1 => 0..9000_u32].prop_map(|part| steps(1) * part / 1000);
    (ledger, staleness, token).prop_map(|(ledger, staleness, token)| Freshness { ledger, staleness, token })
}

/// A question, mostly one that could be allowed.
pub(crate) fn asked() -> impl Strategy<Value = Asked> {
    let purpose = prop_oneof![20 => select(PURPOSES.to_vec()), 1 => Just("x"), 1 => Just("a.b.c.d")];
    let channel = prop_oneof![20 => select(vec!["email", "sms"]), 1 => select(vec!["push", "fax", "*"])];
    let recipient = prop_oneof![8 => Just(""), 3 => Just("acme"), 1 => Just("*")];
    let signals = (
        prop_oneof![8 => Just(""), 1 => select(vec!["1", "0", "true"])],
        prop_oneof![20 => Just(""), 1 => Just("C")],
        prop_oneof![20 => Just(""), 1 => Just("D")],
    );
    let max_staleness = option::weighted(0.2, (0..9000_u32).prop_map(|part| steps(1) * part / 1000));
    let place = (prop_oneof![2 => Just(""), 3 => select(PLACES.to_vec())], option::weighted(0.3, zone()));
    let now = prop_oneof![3 => Just(12_i64), 1 => 0..12_i64];
    let names = (purpose, channel, recipient);
    (option::weighted(0.98, catalogue()), names, signals, (max_staleness, place), freshness(), now).prop_map(
        |(catalogue, (purpose, channel, recipient), (sec_gpc, tcf, gpp), (max_staleness, place), freshness, now)| {
            Asked {
                catalogue,
                purpose: purpose.to_owned(),
                channel: channel.to_owned(),
                recipient: recipient.to_owned(),
                sec_gpc: sec_gpc.to_owned(),
                tcf: tcf.to_owned(),
                gpp: gpp.to_owned(),
                jurisdiction: place.0.to_owned(),
                time_zone: place.1,
                max_staleness,
                freshness,
                now: Time::from_unix_millis(now * STEP_MS),
            }
        },
    )
}
