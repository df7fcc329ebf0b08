//! Paths with one named segment, `/orders/{subject}/**`, and how a request's path is laid beside them.

use std::borrow::Cow;
use std::fmt;

use super::percent;

/// A path of which one segment is named. Written as Envoy writes its URI templates: `*` is any one segment, and `**` at
/// the end is any number of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// The one that is taken.
    Named(String),
    /// `*`
    Any,
    /// `**`
    Rest,
}

/// A path of which it cannot be told what whoever serves it takes it for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ambiguous;

impl Template {
    /// Reads a template whose one named segment has this name.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub(super) fn parse(text: &str, name: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('/').ok_or_else(|| format!("`{text}` must begin with `/`"))?;
        let segments = rest.split('/').map(segment).collect::<Result<Vec<_>, _>>()?;
        let mut named = segments.iter().filter_map(|segment| match segment {
            Segment::Named(name) => Some(name),
            _ => None,
        });
        if named.next().is_none_or(|named| named != name) || named.next().is_some() {
            return Err(format!("`{text}` must name one segment, `{{{name}}}`"));
        }
        let rest_at = segments.iter().position(|segment| *segment == Segment::Rest);
        if rest_at.is_some_and(|at| at + 1 != segments.len()) {
            return Err(format!("`{text}` may have `**` at its end only"));
        }
        Ok(Self(segments))
    }

    /// The named segment of a path, decoded; nothing where the template is of another path.
    ///
    /// A slash at the end means nothing. A path that servers are known to read differently is of no template: with empty
    /// or dotted segments, with escaped slashes, with parameters behind a semicolon, with escapes that are none.
    pub(super) fn find<'p>(&self, path: &'p str) -> Result<Option<Cow<'p, str>>, Ambiguous> {
        let Some(path) = path.strip_prefix('/') else { return Ok(None) };
        if path.is_empty() {
            return Ok(None);
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut template = self.0.iter().peekable();
        let mut found = None;
        let mut matches = true;
        for text in path.split('/') {
            // Also once it is known not to match: what comes next may turn the path into another.
            let text = normal(text)?;
            let segment = template.next_if(|segment| **segment != Segment::Rest).or_else(|| template.peek().copied());
            match segment {
                Some(Segment::Literal(literal)) => matches &= text == *literal,
                Some(Segment::Named(_)) => found = Some(text),
                Some(Segment::Any | Segment::Rest) => {}
                None => matches = false,
            }
        }
        let is_whole = template.next().is_none_or(|segment| *segment == Segment::Rest);
        Ok(found.filter(|_| matches && is_whole))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|segment| match segment {
            Segment::Literal(text) => write!(f, "/{text}"),
            Segment::Named(name) => write!(f, "/{{{name}}}"),
            Segment::Any => f.write_str("/*"),
            Segment::Rest => f.write_str("/**"),
        })
    }
}

fn segment(text: &str) -> Result<Segment, String> {
    match text {
        "*" => return Ok(Segment::Any),
        "**" => return Ok(Segment::Rest),
        _ => {}
    }
    if let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        return Ok(Segment::Named(name.to_owned()));
    }
    // Source: RFC 3986, section 2.3, unreserved characters: they need no escapes and mean nothing else.
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'));
    if text.is_empty() || !is_plain || matches!(text, "." | "..") {
        return Err(format!("`{text}` is not a segment: letters, digits, `-`, `.`, `_`, `~`, or `{{…}}`, `*`, `**`"));
    }
    Ok(Segment::Literal(text.to_owned()))
}

/// A segment, decoded.
fn normal(segment: &str) -> Result<Cow<'_, str>, Ambiguous> {
    if segment.contains([';', '\\', '#']) {
        return Err(Ambiguous);
    }
    let decoded = percent::decode(segment).ok_or(Ambiguous)?;
    if matches!(&*decoded, "" | "." | "..") || decoded.contains(['/', '\\']) {
        return Err(Ambiguous);
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text, "subject").expect("a template")
    }

    #[test]
    fn the_named_segment_is_found() {
        for (text, path, found) in [
            ("/{subject}", "/42", Some("42")),
            ("/{subject}", "/42/", Some("42")),
            ("/{subject}", "/42/orders", None),
            ("/users/{subject}/orders", "/users/crm%3A42/orders", Some("crm:42")),
            ("/users/{subject}/orders", "/%75sers/42/orders", Some("42")),
            ("/users/{subject}/orders", "/users/42", None),
            ("/users/{subject}/orders", "/Users/42/orders", None),
            ("/users/{subject}/**", "/users/42", Some("42")),
            ("/users/{subject}/**", "/users/42/a/b", Some("42")),
            ("/*/{subject}/*", "/a/42/b", Some("42")),
            ("/*/{subject}/*", "/a/42", None),
            ("/users/{subject}", "*", None),
            ("/users/{subject}", "", None),
            ("/{subject}", "/", None),
        ] {
            assert_eq!(template(text).find(path), Ok(found.map(Cow::Borrowed)), "{path} by {text}");
            assert_eq!(template(text).to_string(), text);
        }
    }

    #[test]
    fn a_path_that_servers_read_differently_is_ambiguous() {
        for path in [
            "//",
            "//users/42",
            "/users//42",
            "/users/42//",
            "/users/../users/42",
            "/users/%2e%2e/users/42",
            "/users/./42",
            "/users/4%2F2",
            "/users/4%5c2",
            "/users/4\\2",
            "/users/42;a=b",
            "/users/42#a",
            "/users/%zz",
            "/users/%ff",
            "/elsewhere/a/b/../../../users/42",
        ] {
            assert_eq!(template("/users/{subject}").find(path), Err(Ambiguous), "{path}");
        }
    }

    #[test]
    fn templates_that_could_not_work_are_refused() {
        for text in [
            "",
            "users/{subject}",
            "/",
            "/users",
            "/{other}",
            "/{subject}/{subject}",
            "/{subject}/{other}",
            "/{subject}//",
            "/a b/{subject}",
            "/**/{subject}",
            "/../{subject}",
            "/{subject}?a",
            "/x{subject}",
        ] {
            assert!(Template::parse(text, "subject").is_err(), "`{text}` was taken");
        }
    }
}
