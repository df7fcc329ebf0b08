use super::*;
use crate::domain::{Event, EventBody, Unreadable};

/// A ledger of these lines.
fn history(lines: &[String]) -> (tempfile::TempDir, FileHistory) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.jsonl");
    std::fs::write(&path, lines.concat()).expect("written");
    let history = FileHistory::open(&path).expect("readable").expect("a ledger");
    (folder, history)
}

fn given(subject: &str) -> String {
    format!(
        "{{\"eventId\":\"e\",\"eventTime\":\"2026-01-01T00:00:00Z\",\"source\":\"shop\",\"consent\":{{\"subject\":{{{subject}}},\
         \"purpose\":\"news\",\"channel\":\"email\",\"status\":\"CONSENT_STATUS_GIVEN\",\"legalBasis\":\
         \"LEGAL_BASIS_CONSENT\"}}}}\n"
    )
}

fn all(history: &FileHistory, needles: Option<&Needles>) -> Vec<Delivery> {
    let mut told = Vec::new();
    history.read(needles, || true, |delivery| told.push(delivery)).expect("readable");
    told
}

/// What is told of a subject, with needles for it: whom each event is about.
fn told_of(history: &FileHistory, subject: &str) -> Vec<String> {
    let needles = Needles::of_subjects([subject]);
    let whom = |delivery: &Delivery| match &delivery.event {
        Ok(Event { body: EventBody::Consent(consent), .. }) => vec![consent.subject.expose().to_owned()],
        Ok(_) => Vec::new(),
        Err(Unreadable { subjects, .. }) => subjects.iter().map(|subject| subject.expose().to_owned()).collect(),
    };
    let told = all(history, needles.as_ref());
    told.iter().flat_map(whom).filter(|whom| whom == subject).collect()
}

#[test]
fn nothing_about_a_subject_is_passed_over_however_it_is_written() {
    let lines = [
        given(r#""space":"crm","id":"42""#),
        given(r#""space":"crm","id":"7""#),
        // The same subject, by the escapes of JSON.
        given(r#""space":"crm","id":"\u0034\u0032""#),
        // Unreadable ones: an id that is a number, in two spellings, one without a closing brace, and one of text.
        given(r#""space":"crm","id":42"#),
        given(r#""space":"crm","id":42.5"#),
        given(r#""space":"crm","id":4.25e1"#),
        "{\"subject\":\"crm:42\"\n".to_owned(),
    ];
    let (_folder, history) = history(&lines);
    for subject in ["crm:42", "crm:42.5", "crm:7", "crm:nobody"] {
        let mut without = Vec::new();
        history
            .read(
                None,
                || true,
                |delivery| {
                    let whom = match delivery.event {
                        Ok(Event { body: EventBody::Consent(consent), .. }) => {
                            vec![consent.subject.expose().to_owned()]
                        }
                        Ok(_) => Vec::new(),
                        Err(unreadable) => {
                            unreadable.subjects.iter().map(|subject| subject.expose().to_owned()).collect()
                        }
                    };
                    without.extend(whom.into_iter().filter(|whom| whom == subject));
                },
            )
            .expect("readable");
        assert_eq!(told_of(&history, subject), without, "{subject}");
    }
    assert_eq!(told_of(&history, "crm:42").len(), 4);
    assert_eq!(told_of(&history, "crm:42.5").len(), 2);
    // And what cannot be about it is not even read.
    assert_eq!(all(&history, Needles::of_subjects(["crm:nobody"]).as_ref()).len(), 1, "the line with a backslash");
}

#[test]
fn events_lie_where_a_follower_finds_them_and_a_line_that_is_too_long_is_one() {
    let long = given(&format!(r#""space":"crm","id":"42","x":"{}""#, "y".repeat(3 * LINE_BYTES_MAX)));
    let lines = [given(r#""space":"crm","id":"1""#), "\n".to_owned(), long, given(r#""space":"crm","id":"2""#)];
    let (folder, history) = history(&lines);
    let ends: Vec<u64> = lines
        .iter()
        .scan(0, |end, line| {
            *end += line.len() as u64;
            Some(*end)
        })
        .collect();
    let told = all(&history, None);
    let positions: Vec<u64> = told.iter().map(|delivery| delivery.position.0).collect();
    assert_eq!(positions, [ends[0], ends[2], ends[3]]);
    assert_eq!(told.iter().map(|delivery| delivery.event.is_ok()).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(told_of(&history, "crm:42").len(), 1);
    assert_eq!(history.end(), Position(ends[3]));
    // What comes later, or is not a whole line, is not there.
    let path = folder.path().join("ledger.jsonl");
    let text = std::fs::read(&path).expect("readable");
    std::fs::write(&path, [&text[..], b"{\"half\":"].concat()).expect("written");
    assert_eq!(FileHistory::open(&path).expect("readable").expect("a ledger").end(), Position(ends[3]));
}

#[test]
fn a_place_so_many_lines_further_is_found() {
    let line = given(r#""space":"crm","id":"1""#);
    let len = line.len() as u64;
    let (_folder, history) = history(&vec![line; 1000]);
    for (from, lines, expected) in [(0, 1, 1), (2, 0, 2), (0, 1000, 1000), (3, 500, 503), (3, 2000, 1000)] {
        let place = history.after_lines(Position(from * len), lines).expect("readable");
        assert_eq!(place, Position(expected * len), "{lines} lines from line {from} on");
    }
}

#[test]
fn who_wrote_an_event_is_told_where_it_ends_and_nowhere_else() {
    let line = given(r#""space":"crm","id":"1""#);
    let len = line.len() as u64;
    let unsaid = line.replace(r#""source":"shop","#, "");
    let (_folder, history) = history(&[line, unsaid]);
    for (position, expected) in
        [(0, None), (len, Some("shop")), (len - 3, None), (history.end().0, None), (1 << 40, None)]
    {
        let source = history.source(Position(position)).expect("readable");
        assert_eq!(source.as_deref(), expected, "{position}");
    }
}

#[test]
fn reading_ends_when_nobody_waits_for_it() {
    let (_folder, history) = history(&[given(r#""space":"crm","id":"1""#)]);
    let ended = history.read(None, || false, |_| panic!("it went on")).expect_err("it ended");
    assert_eq!(ended.kind(), io::ErrorKind::Interrupted);
}
