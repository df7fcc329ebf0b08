//! Where JSON objects begin and end in a long text, byte by byte, without reading it as a whole.

/// Knows what the next byte is, from those before it.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    /// Objects and arrays that are open.
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// The last bytes of an object at its own level, blanks left out: whether a list follows its name.
    last: [u8; LIST.len()],
    /// What the objects lie in.
    pub(super) around: Around,
    within: Within,
}

/// What the bytes are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Within {
    /// An object, or what lies between two.
    #[default]
    Objects,
    /// What comes behind the array `list`, up to the end of its object.
    Tail,
    /// Something that is no object, up to the end of its line.
    Stray,
}

/// What objects lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Around {
    /// Nothing: one stands after the other.
    #[default]
    Nothing,
    /// An array.
    Array,
    /// The array `list` of an object.
    List,
}

/// What a byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Part of no object.
    Between,
    /// The first of an object, or of what stands in its place.
    Begin,
    /// Part of it.
    Within,
    /// The last of it.
    End,
    /// It was not an object of its own, but one that holds a list of them.
    List,
}

/// What stands before the objects where an answer of the İYS was kept as it came.
const LIST: &[u8; 7] = b"\"list\":";

impl Cutter {
    /// Before an object that lies in this.
    pub(super) fn lying_in(around: Around) -> Self {
        Self { around, ..Self::default() }
    }

    /// Whether an object has begun and not ended.
    pub(super) const fn is_within(&self) -> bool {
        self.depth > 0 && matches!(self.within, Within::Objects)
    }

    /// What the next byte is.
    pub(super) fn after(&mut self, byte: u8) -> Step {
        if self.within == Within::Stray {
            if byte != b'\n' {
                return Step::Within;
            }
            self.within = Within::Objects;
            return Step::End;
        }
        if self.in_string {
            self.note(byte);
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return self.inside();
        }
        match byte {
            b'"' if self.depth > 0 => {
                self.in_string = true;
                self.note(byte);
                self.inside()
            }
            b'{' | b'[' if self.within == Within::Tail => self.open(),
            b'[' if self.depth == 1 && self.last == *LIST && self.around == Around::Nothing => {
                self.depth = 0;
                self.around = Around::List;
                Step::List
            }
            b'[' if self.depth == 0 && self.around == Around::Nothing => {
                self.around = Around::Array;
                Step::Between
            }
            b'{' if self.depth == 0 => {
                self.last = Default::default();
                self.open();
                Step::Begin
            }
            b'{' | b'[' => self.open(),
            b']' if self.depth == 0 && self.around != Around::Nothing => {
                if self.around == Around::List {
                    self.within = Within::Tail;
                    self.depth = 1;
                } else {
                    self.around = Around::Nothing;
                }
                Step::Between
            }
            b'}' | b']' if self.depth > 0 => {
                self.depth -= 1;
                match (self.depth, self.within) {
                    (0, Within::Tail) => {
                        (self.within, self.around) = (Within::Objects, Around::Nothing);
                        Step::Between
                    }
                    (0, Within::Objects | Within::Stray) => Step::End,
                    _ => self.inside(),
                }
            }
            _ if self.depth > 0 => {
                self.note(byte);
                self.inside()
            }
            b',' | b' ' | b'\t' | b'\r' | b'\n' | 0xef | 0xbb | 0xbf => Step::Between,
            _ => {
                self.within = Within::Stray;
                Step::Begin
            }
        }
    }

    const fn open(&mut self) -> Step {
        self.depth += 1;
        self.inside()
    }

    const fn inside(&self) -> Step {
        match self.within {
            Within::Tail => Step::Between,
            Within::Objects | Within::Stray => Step::Within,
        }
    }

    fn note(&mut self, byte: u8) {
        if self.depth == 1 && !byte.is_ascii_whitespace() {
            self.last.rotate_left(1);
            if let Some(last) = self.last.last_mut() {
                *last = byte;
            }
        }
    }
}
