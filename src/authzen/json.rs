//! JSON read by hand: every member that is asked for is there once and of its type, or it is said which is not.
//!
//! Derived readers take lists for objects, `null` for what is missing, and repeat values in their errors: a question read
//! from what its asker did not mean could be allowed, and an error could hold an identifier.
//!
//! Nothing here grows with what is passed over, however deep or long that is.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::enforcer::wellformed::Malformed;

/// The members of these names, each where it is there. Others are passed over, as the standard demands.
///
/// # Errors
/// If it is no object, or says one of them twice.
pub(super) fn members<'a, const N: usize>(
    json: &'a RawValue,
    place: &str,
    names: [&'static str; N],
) -> Result<[Option<&'a RawValue>; N], Malformed> {
    let no_object = || Malformed::new(place, "is not an object");
    if !json.get().starts_with('{') {
        return Err(no_object());
    }
    let mut reader = serde_json::Deserializer::from_str(json.get());
    let found = reader.deserialize_map(Members(names)).map_err(|_| no_object())?;
    match found.twice {
        Some(name) => Err(Malformed::new(inside(place, name), "is there twice")),
        None => Ok(found.values),
    }
}

/// The elements of a list, unless there are more than `count_max`.
///
/// # Errors
/// If it is no list, or has more.
pub(super) fn elements<'a>(json: &'a RawValue, place: &str, count_max: usize) -> Result<Vec<&'a RawValue>, Malformed> {
    let no_list = || Malformed::new(place, "is not a list");
    if !json.get().starts_with('[') {
        return Err(no_list());
    }
    let mut reader = serde_json::Deserializer::from_str(json.get());
    let (elements, count) = reader.deserialize_seq(Elements { count_max }).map_err(|_| no_list())?;
    if count > count_max {
        return Err(Malformed::new(place, format_args!("has {count}, allowed are {count_max}")));
    }
    Ok(elements)
}

/// A text.
///
/// # Errors
/// If it is something else, or no Unicode.
pub(super) fn text<'a>(json: &'a RawValue, place: &str) -> Result<Cow<'a, str>, Malformed> {
    // Without an escape in it the text stands there as it is.
    let plain = serde_json::from_str::<&str>(json.get()).map(Cow::Borrowed);
    let text = plain.or_else(|_| serde_json::from_str::<String>(json.get()).map(Cow::Owned));
    text.map_err(|_| Malformed::new(place, "is not a text"))
}

/// The name of a member of an object at a place; the request itself has none.
pub(super) fn inside(place: &str, name: &str) -> String {
    if place == BODY { name.to_owned() } else { format!("{place}.{name}") }
}

/// The place of the whole request.
pub(super) const BODY: &str = "body";

struct Members<const N: usize>([&'static str; N]);

struct Found<'a, const N: usize> {
    values: [Option<&'a RawValue>; N],
    twice: Option<&'static str>,
}

impl<'de, const N: usize> Visitor<'de> for Members<N> {
    type Value = Found<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self(names) = self;
        let mut found = Found { values: [None; N], twice: None };
        while let Some(place) = map.next_key_seed(Name(&names))? {
            match place.and_then(|place| found.values.get_mut(place).zip(names.get(place))) {
                None => _ = map.next_value::<IgnoredAny>()?,
                Some((value, name)) => {
                    if value.replace(map.next_value()?).is_some() {
                        found.twice = Some(name);
                    }
                }
            }
        }
        Ok(found)
    }
}

/// The place of a member's name among those that are asked for.
struct Name<'n>(&'n [&'static str]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|own| *own == name))
    }
}

struct Elements {
    count_max: usize,
}

impl<'de> Visitor<'de> for Elements {
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < self.count_max {
            let Some(element) = list.next_element()? else { break };
            elements.push(element);
        }
        let mut count = elements.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((elements, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn members_are_found_whatever_stands_around_them() {
        let object = raw(r#" { "x": [1, {"a": 2}], "b": {"a": 3}, "\u0061" : "one" , "y": null } "#);
        let [a, b, c] = members(object, BODY, ["a", "b", "c"]).expect("an object");
        assert_eq!(a.map(RawValue::get), Some(r#""one""#), "an escaped name is the same name");
        assert_eq!(b.map(RawValue::get), Some(r#"{"a": 3}"#));
        assert!(c.is_none());
        assert_eq!(text(a.expect("there"), "a").expect("a text"), "one");
        assert_eq!(text(raw(r#""\u00fc\n""#), "a").expect("a text"), "ü\n");
    }

    #[test]
    fn what_is_of_another_type_or_there_twice_is_named_and_not_repeated() {
        let said = |json: &str| members(raw(json), "subject", ["id"]).expect_err(json).to_string();
        for other in ["null", "true", "1", r#""secret""#, r#"["secret"]"#] {
            assert_eq!(said(other), "`subject` is not an object");
            let twice = format!(r#"{{"id": "secret", "x": 1, "\u0069d": {other}}}"#);
            assert_eq!(said(&twice), "`subject.id` is there twice");
        }
        for other in ["null", "true", "1", r#"["secret"]"#, r#"{"secret": 1}"#, r#""\ud800""#] {
            let error = text(raw(other), "subject.id").expect_err(other);
            assert_eq!(error.to_string(), "`subject.id` is not a text");
        }
    }

    #[test]
    fn a_list_is_read_up_to_its_limit() {
        let list = raw(r#"[1, [2, 3], {"a": 4}]"#);
        assert_eq!(elements(list, "evaluations", 3).expect("a list").len(), 3);
        let error = elements(list, "evaluations", 2).expect_err("too many");
        assert_eq!(error.to_string(), "`evaluations` has 3, allowed are 2");
        for other in ["null", "{}", r#""a""#, "3"] {
            assert_eq!(elements(raw(other), "e", 9).expect_err(other).to_string(), "`e` is not a list");
        }
    }

    #[test]
    fn what_is_passed_over_may_be_deep() {
        let deep = format!(r#"{{"x": {}1{}, "a": 1}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let [a] = members(raw(&deep), BODY, ["a"]).expect("an object");
        assert!(a.is_some());
    }
}
