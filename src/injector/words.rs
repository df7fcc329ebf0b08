//! Words and names as people write them into settings and annotations.

/// What one of a few words stands for.
///
/// # Errors
/// That it is none of them, as the end of a sentence.
pub(super) fn one_of<T, const N: usize>(text: &str, words: [(&'static str, T); N]) -> Result<T, String> {
    let list = words.each_ref().map(|(word, _)| format!("`{word}`")).join(" or ");
    let found = words.into_iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| value).ok_or_else(|| format!("`{text}` is not {list}"))
}

/// Whether Kubernetes takes a text for the name of a Secret. Source: RFC 1123, as Kubernetes has it.
pub(super) fn is_dns_subdomain(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().next_back()];
        ends.into_iter().all(|end| end.is_some_and(is_inner))
            && label.bytes().all(|byte| is_inner(byte) || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// A text of somebody else's on one line and not too long, for logs and sentences.
pub(super) fn on_one_line(text: &str, chars_max: usize) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let short: String = chars.by_ref().take(chars_max).collect();
    if chars.next().is_some() { format!("{short}…") } else { short }
}
