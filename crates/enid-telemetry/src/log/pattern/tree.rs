//! Conditions joined by `&&`, `||` and parentheses.

use super::PatternError;
use super::cursor::Cursor;

/// A condition, or several that are joined. `&&` binds more tightly than `||`.
#[derive(Debug, Clone)]
pub(super) enum Tree<A> {
    All(Vec<Self>),
    Any(Vec<Self>),
    Atom(A),
}

impl<A> Tree<A> {
    /// Reads a tree whose conditions are read by a function.
    pub(super) fn parse<'a>(
        cursor: &mut Cursor<'a>,
        atom: &mut impl FnMut(&mut Cursor<'a>) -> Result<A, PatternError>,
    ) -> Result<Self, PatternError> {
        Self::any(cursor, atom, 0)
    }

    fn any<'a>(
        cursor: &mut Cursor<'a>,
        atom: &mut impl FnMut(&mut Cursor<'a>) -> Result<A, PatternError>,
        depth: usize,
    ) -> Result<Self, PatternError> {
        let mut parts = Vec::new();
        loop {
            parts.push(Self::all(cursor, atom, depth)?);
            cursor.skip_space();
            if !cursor.eat("||") {
                return Ok(joined(parts, Self::Any));
            }
        }
    }

    fn all<'a>(
        cursor: &mut Cursor<'a>,
        atom: &mut impl FnMut(&mut Cursor<'a>) -> Result<A, PatternError>,
        depth: usize,
    ) -> Result<Self, PatternError> {
        let mut parts = Vec::new();
        loop {
            cursor.skip_space();
            if cursor.eat("(") {
                if depth == DEPTH_MAX {
                    return Err(PatternError::Malformed);
                }
                parts.push(Self::any(cursor, atom, depth + 1)?);
                cursor.skip_space();
                cursor.expect(")")?;
            } else {
                parts.push(Self::Atom(atom(cursor)?));
            }
            cursor.skip_space();
            if !cursor.eat("&&") {
                return Ok(joined(parts, Self::All));
            }
        }
    }

    /// Whether the tree holds, if a function says which conditions do.
    pub(super) fn holds(&self, atom: &impl Fn(&A) -> bool) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(atom)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(atom)),
            Self::Atom(condition) => atom(condition),
        }
    }

    /// Shows each condition, from left to right.
    pub(super) fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a A)) {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().for_each(|part| part.visit(visit));
            }
            Self::Atom(condition) => visit(condition),
        }
    }
}

/// One part needs no joining.
fn joined<A>(mut parts: Vec<Tree<A>>, join: impl FnOnce(Vec<Tree<A>>) -> Tree<A>) -> Tree<A> {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}

/// How deep parentheses may be; deeper ones only cost stack.
const DEPTH_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> Result<bool, PatternError> {
        let mut cursor = Cursor::new(text);
        let tree = Tree::parse(
            &mut cursor,
            &mut |cursor| match cursor.run(char::is_alphabetic) {
                "yes" => Ok(true),
                "no" => Ok(false),
                _ => Err(cursor.unexpected()),
            },
        )?;
        if !cursor.is_at_end() {
            return Err(cursor.unexpected());
        }
        Ok(tree.holds(&|atom| *atom))
    }

    #[test]
    fn and_binds_more_tightly_than_or() {
        for (text, expected) in [
            ("yes", true),
            ("yes || no && no", true),
            ("(yes || no) && no", false),
            ("no && no || yes", true),
            ("((no)) || (yes && (no || yes))", true),
        ] {
            assert_eq!(holds(text), Ok(expected), "{text}");
        }
        for text in ["", "(yes", "yes)", "yes &&", "yes yes", "|| yes"] {
            assert!(holds(text).is_err(), "{text}");
        }
        let deep = |depth: usize| format!("{}yes{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(holds(&deep(DEPTH_MAX)), Ok(true));
        assert!(holds(&deep(DEPTH_MAX + 1)).is_err());
    }
}
