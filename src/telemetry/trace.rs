//! The place of a call in its caller's trace.

/// What a `traceparent` says. Source: W3C Trace Context, level 1, section 3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The caller's own span in it.
    pub span_id: [u8; 8],
    /// Whether the caller records the trace.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads the values of the header `traceparent`, which any wire gives as it has them; nothing where there are several,
    /// of which none can be preferred.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut values = values.into_iter();
        let only = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(std::str::from_utf8(only).ok()?)
    }

    /// Reads a header; nothing where it is malformed, as the standard wants it. Of a later version the beginning is read.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim_matches([' ', '\t']).split('-');
        let [version] = hex(parts.next()?)?;
        let (trace_id, span_id) = (hex(parts.next()?)?, hex(parts.next()?)?);
        let [flags] = hex(parts.next()?)?;
        let is_whole = match version {
            0 => parts.next().is_none(),
            0xff => false,
            _ => true,
        };
        let is_named = trace_id != [0; 16] && span_id != [0; 8];
        (is_whole && is_named).then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_header_is_read_as_the_standard_says() {
        let read = TraceParent::parse(&format!("00-{TRACE}-{SPAN}-01")).expect("a header");
        assert_eq!((read.trace_id[0], read.span_id[0], read.sampled), (0x0a, 0xb7, true));
        let read = TraceParent::parse(&format!("00-{TRACE}-{SPAN}-00")).expect("a header");
        assert!(!read.sampled);
        assert!(TraceParent::parse(&format!("cc-{TRACE}-{SPAN}-01-what-comes-later")).is_some());
    }

    #[test]
    fn of_several_headers_none_is_taken() {
        let header = format!("00-{TRACE}-{SPAN}-01");
        let one = header.as_bytes();
        assert_eq!(TraceParent::of([one]), TraceParent::parse(&header));
        assert_eq!(TraceParent::of([one, one]), None);
        assert_eq!(TraceParent::of([]), None);
        assert_eq!(TraceParent::of([&b"\xff"[..]]), None);
        // As a proxy joins them.
        assert_eq!(TraceParent::parse(&format!("{header},{header}")), None);
    }

    #[test]
    fn what_is_malformed_is_no_parent() {
        let zero = ("0".repeat(32), "0".repeat(16));
        for malformed in [
            String::new(),
            "nonsense".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{}-{SPAN}-01", zero.0),
            format!("00-{TRACE}-{}-01", zero.1),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-1"),
        ] {
            assert_eq!(TraceParent::parse(&malformed), None, "{malformed}");
        }
    }
}
