//! Known facts of known clocks, and the whole database against a second reading of it.

use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Time {
    let time: DateTime<Utc> = text.parse().expect("a time");
    Time::from_unix_millis(time.timestamp_millis())
}

/// Minutes east of UTC.
fn minutes(name: &str, time: &str) -> i32 {
    find(name).unwrap_or_else(|| panic!("`{name}` is not known")).offset_at(at(time)) / 60
}

#[test]
fn clocks_stand_where_they_are_known_to_stand() {
    for (name, time, expected) in [
        // Türkiye stayed on summer time: Cabinet decree 2016/9154, in force since 7 September 2016.
        ("Europe/Istanbul", "2015-12-01T00:00:00Z", 120),
        ("Europe/Istanbul", "2016-08-01T00:00:00Z", 180),
        ("Europe/Istanbul", "2016-12-01T00:00:00Z", 180),
        ("Europe/Istanbul", "2099-01-01T00:00:00Z", 180),
        // Directive 2000/84/EC: last Sunday of March and of October, at 01:00 UTC.
        ("Europe/Berlin", "2026-03-29T00:59:59.999Z", 60),
        ("Europe/Berlin", "2026-03-29T01:00:00Z", 120),
        ("Europe/Berlin", "2026-10-25T00:59:59.999Z", 120),
        ("Europe/Berlin", "2026-10-25T01:00:00Z", 60),
        // Energy Policy Act of 2005: second Sunday of March, first Sunday of November, at 02:00 local time.
        ("America/New_York", "2026-03-08T06:59:59.999Z", -300),
        ("America/New_York", "2026-03-08T07:00:00Z", -240),
        ("America/New_York", "2026-11-01T05:59:59.999Z", -240),
        ("America/New_York", "2026-11-01T06:00:00Z", -300),
        // The rules of the table's end are followed as far as the table goes.
        ("America/New_York", "2099-07-01T00:00:00Z", -240),
        ("America/New_York", "2099-12-31T00:00:00Z", -300),
        // Half hours, quarters, half an hour of summer time, both sides of the date line.
        ("Asia/Kolkata", "2026-01-01T00:00:00Z", 330),
        ("Asia/Kathmandu", "2026-01-01T00:00:00Z", 345),
        ("Australia/Lord_Howe", "2026-01-01T00:00:00Z", 660),
        ("Australia/Lord_Howe", "2026-07-01T00:00:00Z", 630),
        ("Pacific/Kiritimati", "2026-01-01T00:00:00Z", 840),
        ("Pacific/Pago_Pago", "2026-01-01T00:00:00Z", -660),
        // Morocco's clock went back in Ramadan of 2024, 10 March to 14 April.
        ("Africa/Casablanca", "2024-02-15T00:00:00Z", 60),
        ("Africa/Casablanca", "2024-03-20T00:00:00Z", 0),
        ("Africa/Casablanca", "2024-05-01T00:00:00Z", 60),
        ("UTC", "2026-07-01T00:00:00Z", 0),
        ("Etc/GMT+5", "2026-07-01T00:00:00Z", -300),
    ] {
        assert_eq!(minutes(name, time), expected, "{name} at {time}");
    }
}

#[test]
fn the_change_of_a_law_is_no_change_of_the_clock() {
    // On 7 September 2016 only the name of Türkiye's time changed; its clock last moved in March of that year.
    let table = find("Europe/Istanbul").expect("known");
    let same = |from: &str, until: &str| table.offset_at(at(from)) == table.offset_at(at(until));
    assert!(same("2016-03-27T01:00:00Z", "2099-12-31T00:00:00Z"));
    assert!(!same("2016-03-27T00:59:59Z", "2016-03-27T01:00:00Z"));
}

#[test]
fn a_name_of_old_has_the_clock_of_the_place_it_became() {
    for (old, new) in
        [("Asia/Calcutta", "Asia/Kolkata"), ("Turkey", "Europe/Istanbul"), ("US/Eastern", "America/New_York")]
    {
        let (old, new) = (find(old).expect(old), find(new).expect(new));
        for year in 1970..2100 {
            for time in [format!("{year}-01-15T12:00:00Z"), format!("{year}-07-15T12:00:00Z")] {
                assert_eq!(old.offset_at(at(&time)), new.offset_at(at(&time)), "{} at {time}", old.name());
            }
        }
    }
    assert_eq!(find("Asia/Calcutta").map(Zone::name), Some("Asia/Calcutta"), "what was asked for is what is recorded");
}

#[test]
fn other_texts_are_no_places() {
    let long = "x".repeat(10_000);
    for name in [
        "",
        " ",
        "Europe",
        "Europe/Berlin ",
        "europe/berlin",
        "Europe/Atlantis",
        "+03:00",
        "EST5EDT,M3.2.0,M11.1.0",
        "Factory",
        &long,
    ] {
        assert_eq!(find(name), None, "`{name}` was taken");
    }
    assert_eq!(like("europe/istambul"), Some("Europe/Istanbul"));
    assert_eq!(like("Europe/Istanbul"), Some("Europe/Istanbul"));
    assert_eq!(like("\u{1F550}"), None);
}

#[test]
fn a_table_is_made_once_and_whoever_asks_gets_the_same() {
    let mut threads = Vec::new();
    for _ in 0..8 {
        threads.push(std::thread::spawn(|| std::ptr::from_ref(find("America/Sao_Paulo").expect("known")) as usize));
    }
    let mut places: Vec<usize> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    places.dedup();
    assert_eq!(places.len(), 1);
}

#[test]
fn every_place_has_a_table_and_the_whole_is_small() {
    let mut names: Vec<&String> = TABLES.keys().collect();
    names.sort();
    assert!(names.len() > 400, "only {} names", names.len());
    for name in names {
        let zone = find(name).unwrap_or_else(|| panic!("`{name}` has no table"));
        assert_eq!(zone.name(), name.as_str());
    }
}

proptest! {
    /// The table against the database that it was made of, asked for one moment at a time.
    #[test]
    fn a_table_says_what_the_database_says(name in 0_usize..10_000, second in 0_i64..LAST_SECOND) {
        let mut names: Vec<&String> = TABLES.keys().collect();
        names.sort();
        let name = names[name % names.len()];
        let time = Timestamp::from_second(second).expect("in range");
        let expected = offset_at(&BUNDLED.get(name).expect("known"), time);
        let table = find(name).expect("known");
        prop_assert_eq!(table.offset_at(Time::from_unix_millis(second * 1000)), expected, "{}", name);
    }
}
