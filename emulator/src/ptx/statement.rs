//! One instruction as text has it: guard, mnemonic, modifiers and operands. `ptx-syntax` has checked the instruction against the ISA's
//! grammar; its typed tree has a node type for each of some hundred spellings, so the decoder reads the checked text instead, where
//! all of them have one shape.

use ptx_syntax::{PtxToken, tokenize};

use super::PtxError;

/// An instruction before names are resolved.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Statement {
    pub(super) line: u32,
    /// The predicate that guards it, and whether it is negated.
    pub(super) guard: Option<(String, bool)>,
    pub(super) name: String,
    pub(super) modifiers: Vec<String>,
    pub(super) operands: Vec<Operand>,
}

/// An operand before names are resolved.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    /// A register, special register, variable, label or function, and a displacement.
    Name(String, i64),
    Integer(i128),
    /// A float: its value, and its bits if the text gives those of an f32.
    Float(f64, Option<u32>),
    /// `_`
    Sink,
    /// `!p`
    Not(String),
    /// `p|q`
    Pair(Box<Operand>, Box<Operand>),
    /// `{a, b}`
    Vector(Vec<Operand>),
    /// `(a, b)`
    List(Vec<Operand>),
    /// `[name + displacement]`; none for an absolute address.
    Address(Option<String>, i64),
}

impl Statement {
    /// Reads the text of one instruction, semicolon included.
    pub(super) fn parse(text: &str, line: u32) -> Result<Self, PtxError> {
        let error = |message: &str| PtxError::new(line, format!("{message} in `{}`", text.trim()));
        let mut rest = text.trim().trim_end_matches(';').trim();
        let mut guard = None;
        if let Some(tail) = rest.strip_prefix('@') {
            let (name, tail) = tail.split_once(char::is_whitespace).ok_or_else(|| error("no instruction after the guard"))?;
            let (name, negated) = name.strip_prefix('!').map_or((name, false), |name| (name, true));
            (guard, rest) = (Some((name.to_owned(), negated)), tail.trim_start());
        }
        let end = rest.find(|c: char| c.is_whitespace() || "[{(;".contains(c)).unwrap_or(rest.len());
        let (mnemonic, rest) = rest.split_at(end);
        let mut parts = mnemonic.split('.').map(str::to_owned);
        let name = parts.next().expect("a split has a first part");
        let tokens = tokenize(rest).map_err(|_| error("unreadable operand"))?;
        let mut reader = Reader { tokens: tokens.into_iter().map(|(token, _)| token).collect(), next: 0 };
        let mut operands = Vec::new();
        while !reader.at_end() {
            operands.push(reader.operand().ok_or_else(|| error("unreadable operand"))?);
            if !reader.at_end() && !reader.take(&PtxToken::Comma) {
                return Err(error("unreadable operand"));
            }
        }
        Ok(Self { line, guard, name, modifiers: parts.collect(), operands })
    }

    /// The mnemonic with its modifiers.
    pub(super) fn mnemonic(&self) -> String {
        self.modifiers.iter().fold(self.name.clone(), |all, part| all + "." + part)
    }
}

/// Reads an initial value of a variable, or any other lone operand.
pub(super) fn parse_operand(text: &str) -> Option<Operand> {
    let tokens = tokenize(text).ok()?;
    let mut reader = Reader { tokens: tokens.into_iter().map(|(token, _)| token).collect(), next: 0 };
    let operand = reader.operand()?;
    reader.at_end().then_some(operand)
}

struct Reader {
    tokens: Vec<PtxToken>,
    next: usize,
}

impl Reader {
    fn at_end(&self) -> bool {
        self.next == self.tokens.len()
    }

    fn peek(&self) -> Option<&PtxToken> {
        self.tokens.get(self.next)
    }

    fn take(&mut self, token: &PtxToken) -> bool {
        let taken = self.peek() == Some(token);
        self.next += usize::from(taken);
        taken
    }

    fn operand(&mut self) -> Option<Operand> {
        let first = match self.peek()? {
            PtxToken::LBrace => return Some(Operand::Vector(self.list(PtxToken::RBrace)?)),
            PtxToken::LParen => return Some(Operand::List(self.list(PtxToken::RParen)?)),
            PtxToken::LBracket => return self.address(),
            PtxToken::Exclaim => {
                self.next += 1;
                return Some(Operand::Not(self.name()?));
            }
            PtxToken::Register(_) | PtxToken::Identifier(_) => {
                let name = self.name()?;
                if name == "_" { Operand::Sink } else { Operand::Name(name, self.displacement()?) }
            }
            _ => self.number()?,
        };
        if self.take(&PtxToken::Pipe) {
            return Some(Operand::Pair(Box::new(first), Box::new(self.operand()?)));
        }
        Some(first)
    }

    fn list(&mut self, close: PtxToken) -> Option<Vec<Operand>> {
        self.next += 1;
        let mut list = Vec::new();
        while !self.take(&close) {
            list.push(self.operand()?);
            self.take(&PtxToken::Comma);
        }
        Some(list)
    }

    fn address(&mut self) -> Option<Operand> {
        self.next += 1;
        let name = match self.peek()? {
            PtxToken::Register(_) | PtxToken::Identifier(_) => Some(self.name()?),
            _ => None,
        };
        let displacement = match name {
            Some(_) => self.displacement()?,
            None => match self.number()? {
                Operand::Integer(value) => value as i64,
                _ => return None,
            },
        };
        self.take(&PtxToken::RBracket).then_some(Operand::Address(name, displacement))
    }

    /// A name, with its component if it is part of a vector or a special register of three.
    fn name(&mut self) -> Option<String> {
        let (PtxToken::Register(name) | PtxToken::Identifier(name)) = self.peek()?.clone() else { return None };
        self.next += 1;
        match (self.peek(), self.tokens.get(self.next + 1)) {
            (Some(PtxToken::Dot), Some(PtxToken::Identifier(component))) => {
                let name = format!("{name}.{component}");
                self.next += 2;
                Some(name)
            }
            _ => Some(name),
        }
    }

    /// `+ 4`, `- 4` and what compilers make of it: `+-4`; zero if there is none.
    fn displacement(&mut self) -> Option<i64> {
        if !matches!(self.peek(), Some(PtxToken::Plus | PtxToken::Minus)) {
            return Some(0);
        }
        match self.number()? {
            Operand::Integer(value) => Some(value as i64),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Operand> {
        let mut negative = false;
        loop {
            if self.take(&PtxToken::Minus) {
                negative = !negative;
            } else if !self.take(&PtxToken::Plus) {
                break;
            }
        }
        let token = self.peek()?.clone();
        self.next += 1;
        let integer = |digits: &str, radix| {
            let value = i128::from(u64::from_str_radix(digits.trim_end_matches('U'), radix).ok()?);
            Some(Operand::Integer(if negative { -value } else { value }))
        };
        let signed = |value: f64| if negative { -value } else { value };
        match &token {
            PtxToken::DecimalInteger(digits) => integer(digits, 10),
            PtxToken::HexInteger(digits) => integer(&digits[2..], 16),
            PtxToken::BinaryInteger(digits) => integer(&digits[2..], 2),
            PtxToken::OctalInteger(digits) => integer(digits, 8),
            PtxToken::Float(text) | PtxToken::FloatExponent(text) => Some(Operand::Float(signed(text.parse().ok()?), None)),
            PtxToken::HexFloatSingle(digits) => {
                let bits = u32::from_str_radix(&digits[2..], 16).ok()? ^ u32::from(negative) << 31;
                Some(Operand::Float(f32::from_bits(bits).into(), Some(bits)))
            }
            PtxToken::HexFloatDouble(digits) => {
                Some(Operand::Float(signed(f64::from_bits(u64::from_str_radix(&digits[2..], 16).ok()?)), None))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_operand() {
        let name = |name: &str| Operand::Name(name.to_owned(), 0);
        let parsed = Statement::parse("@!%p1 atom.shared::cta.add.u32 \t%r1, [sh+-4], -0x10;", 7).unwrap();
        assert_eq!(parsed.guard, Some(("%p1".to_owned(), true)));
        assert_eq!(parsed.mnemonic(), "atom.shared::cta.add.u32");
        assert_eq!(parsed.operands, [name("%r1"), Operand::Address(Some("sh".to_owned()), -4), Operand::Integer(-16)]);
        let parsed = Statement::parse("setp.lt.and.u32 %p1|_, %tid.x, 0f3F800000, !%p2;", 7).unwrap();
        assert_eq!(
            parsed.operands,
            [
                Operand::Pair(Box::new(name("%p1")), Box::new(Operand::Sink)),
                name("%tid.x"),
                Operand::Float(1.0, Some(0x3f80_0000)),
                Operand::Not("%p2".to_owned())
            ]
        );
        let parsed = Statement::parse("call.uni (r), f, (a, b);", 7).unwrap();
        assert_eq!(parsed.operands, [Operand::List(vec![name("r")]), name("f"), Operand::List(vec![name("a"), name("b")])]);
        let parsed = Statement::parse("ld.global.L2::128B.v2.b32{%r1, _}, [0x100];", 7).unwrap();
        assert_eq!(parsed.modifiers, ["global", "L2::128B", "v2", "b32"]);
        assert_eq!(parsed.operands, [Operand::Vector(vec![name("%r1"), Operand::Sink]), Operand::Address(None, 256)]);
    }
}
