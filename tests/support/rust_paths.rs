//! Finds the paths that a Rust source names, well enough to tell which module it uses: `use` trees and inline paths.

use std::iter::Peekable;
use std::str::Chars;

/// A path of at least two segments, or one that names a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FoundPath {
    /// Within this crate, from its root; empty for the root itself.
    Here { at: usize, segments: Vec<String> },
    /// Anything else, as it is written.
    Outside { at: usize, segments: Vec<String> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Step,
    Mark(char),
}

/// The name by which the binary knows the library.
const LIBRARY: &str = "consentd";

/// Every path in a source whose module is `module`, counted from the crate's root.
pub(crate) fn paths_in(text: &str, module: &[String]) -> Vec<FoundPath> {
    let tokens = tokens(text);
    let mut scan =
        Scan { tokens: &tokens, at: 0, module: module.to_vec(), inline: Vec::new(), depth: 0, found: Vec::new() };
    scan.run();
    scan.found
}

struct Scan<'a> {
    tokens: &'a [(usize, Token)],
    at: usize,
    module: Vec<String>,
    /// The depth of braces at which each inline module ends.
    inline: Vec<usize>,
    depth: usize,
    found: Vec<FoundPath>,
}

impl Scan<'_> {
    fn token(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|(_, token)| token)
    }

    fn run(&mut self) {
        while let Some(token) = self.token(0).cloned() {
            match token {
                Token::Mark('{') => {
                    self.depth += 1;
                    self.at += 1;
                }
                Token::Mark('}') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.inline.last() == Some(&self.depth) {
                        self.inline.pop();
                        self.module.pop();
                    }
                    self.at += 1;
                }
                Token::Word(word) if word == "mod" => {
                    if let (Some(Token::Word(name)), Some(Token::Mark('{'))) = (self.token(1).cloned(), self.token(2)) {
                        self.inline.push(self.depth);
                        self.module.push(name);
                        self.at += 1;
                    }
                    self.at += 1;
                }
                Token::Word(_) => {
                    let root = self.starts_at_visibility();
                    if root { self.at += 1 } else { self.tree(&[]) }
                }
                Token::Step | Token::Mark(_) => self.at += 1,
            }
        }
    }

    /// Whether this is the `crate`, `super` or `self` of `pub(crate)` and its like.
    fn starts_at_visibility(&self) -> bool {
        self.at > 0
            && self.tokens.get(self.at - 1).is_some_and(|(_, token)| *token == Token::Mark('('))
            && self.token(1) == Some(&Token::Mark(')'))
            && matches!(self.token(0), Some(Token::Word(word)) if matches!(word.as_str(), "crate" | "super" | "self"))
    }

    /// Reads one path, or the group that it ends in, and notes what it finds.
    fn tree(&mut self, prefix: &[String]) {
        let line = self.tokens.get(self.at).map_or(0, |(line, _)| *line);
        let mut segments = prefix.to_vec();
        loop {
            match self.token(0).cloned() {
                Some(Token::Word(word)) => {
                    segments.push(word);
                    self.at += 1;
                }
                Some(Token::Mark('*')) => {
                    segments.push("*".to_owned());
                    self.at += 1;
                }
                Some(Token::Mark('{')) => {
                    self.group(&segments);
                    return;
                }
                _ => break,
            }
            if self.token(0) != Some(&Token::Step) {
                break;
            }
            self.at += 1;
        }
        self.note(line, segments);
    }

    fn group(&mut self, prefix: &[String]) {
        self.at += 1;
        while let Some(token) = self.token(0) {
            match token {
                Token::Mark('}') => {
                    self.at += 1;
                    return;
                }
                Token::Word(word) if word == "as" => self.at += 2,
                Token::Word(_) | Token::Mark('{' | '*') => self.tree(prefix),
                Token::Step | Token::Mark(_) => self.at += 1,
            }
        }
    }

    fn note(&mut self, at: usize, segments: Vec<String>) {
        let renamed = matches!(self.token(0), Some(Token::Word(word)) if word == "as");
        let Some(first) = segments.first().map(String::as_str) else { return };
        let from = match first {
            "crate" | LIBRARY => Vec::new(),
            "self" | "super" => self.module.clone(),
            _ => {
                if segments.len() > 1 {
                    self.found.push(FoundPath::Outside { at, segments });
                }
                return;
            }
        };
        // A bare `self` is a value, and a bare `super` or `crate` names something only where it is renamed.
        if segments.len() == 1 && (first == "self" || !renamed) {
            return;
        }
        let mut absolute = from;
        for segment in segments {
            match segment.as_str() {
                "crate" | "self" | LIBRARY => {}
                "super" => {
                    absolute.pop();
                }
                _ => absolute.push(segment),
            }
        }
        self.found.push(FoundPath::Here { at, segments: absolute });
    }
}

/// Words, `::` and marks, each with its line; no comments, strings, characters or lifetimes.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let mut out = Vec::new();
    let mut line = 1;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => line += 1,
            '/' if chars.peek() == Some(&'/') => while chars.next_if(|c| *c != '\n').is_some() {},
            '/' if chars.peek() == Some(&'*') => line += skip_block_comment(&mut chars),
            '"' => line += skip_string(&mut chars),
            '\'' => skip_char_or_lifetime(&mut chars),
            ':' if chars.next_if_eq(&':').is_some() => out.push((line, Token::Step)),
            c if c.is_alphanumeric() || c == '_' => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                match (word.as_str(), chars.peek()) {
                    ("r" | "br" | "cr", Some('"' | '#')) => line += skip_raw(&mut chars, &mut out, line),
                    ("b" | "c", Some('"')) => {}
                    _ => out.push((line, Token::Word(word))),
                }
            }
            c if c.is_whitespace() => {}
            c => out.push((line, Token::Mark(c))),
        }
    }
    out
}

/// Skips what follows `/`; gives the number of lines in it.
fn skip_block_comment(chars: &mut Peekable<Chars<'_>>) -> usize {
    let (mut lines, mut depth) = (0, 1);
    chars.next();
    while let Some(c) = chars.next() {
        match c {
            '\n' => lines += 1,
            '/' if chars.next_if_eq(&'*').is_some() => depth += 1,
            '*' if chars.next_if_eq(&'/').is_some() => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    lines
}

/// Skips a string after its opening quote.
fn skip_string(chars: &mut Peekable<Chars<'_>>) -> usize {
    let mut lines = 0;
    while let Some(c) = chars.next() {
        match c {
            '\\' => lines += usize::from(chars.next() == Some('\n')),
            '\n' => lines += 1,
            '"' => break,
            _ => {}
        }
    }
    lines
}

/// Skips a raw string after its `r`, or reads on where it is a raw identifier.
fn skip_raw(chars: &mut Peekable<Chars<'_>>, out: &mut Vec<(usize, Token)>, line: usize) -> usize {
    let mut hashes = 0;
    while chars.next_if_eq(&'#').is_some() {
        hashes += 1;
    }
    if chars.next_if_eq(&'"').is_none() {
        let mut word = String::new();
        while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
            word.push(c);
        }
        out.push((line, Token::Word(word)));
        return 0;
    }
    let (mut lines, mut closing) = (0, None);
    for c in chars.by_ref() {
        closing = match (c, closing) {
            ('"', _) => Some(0),
            ('#', Some(have)) => Some(have + 1),
            _ => None,
        };
        lines += usize::from(c == '\n');
        if closing == Some(hashes) {
            break;
        }
    }
    lines
}

/// Skips `x'` or `\n'` after the quote of a character; of a lifetime skips its name.
fn skip_char_or_lifetime(chars: &mut Peekable<Chars<'_>>) {
    let mut ahead = chars.clone();
    let first = ahead.next();
    if first == Some('\\') {
        chars.next();
        chars.next();
        while chars.next().is_some_and(|c| c != '\'') {}
    } else if ahead.next() == Some('\'') {
        chars.next();
        chars.next();
    } else {
        while chars.next_if(|c| c.is_alphanumeric() || *c == '_').is_some() {}
    }
}
