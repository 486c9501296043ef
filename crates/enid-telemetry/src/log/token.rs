//! The tokens of GetLogEvents: a direction and the event that a page goes on from.

use std::fmt;

use super::event::Position;
use super::page::{Bounds, Direction, Page};

/// A token: `f/` or `b/` and a position, as AWS's look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Which way.
    pub direction: Direction,
    /// From which event.
    pub position: Position,
}

/// Before the first event of any stream.
const START: Position = Position {
    time: 0,
    arrival: 0,
};
/// After the last one.
const END: Position = Position {
    time: i64::MAX,
    arrival: u64::MAX,
};

impl Token {
    /// Reads a token.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (direction, rest) = text.split_once('/')?;
        let direction = match direction {
            "b" => Direction::Backward,
            "f" => Direction::Forward,
            _ => return None,
        };
        let position = Position::parse(rest.strip_suffix("/s")?)?;
        Some(Self {
            direction,
            position,
        })
    }

    /// The tokens, forward and backward, that go on from a page. One that leads nowhere is the one
    /// that the page was asked for with.
    #[must_use]
    pub fn after(page: &Page, bounds: Bounds) -> (Self, Self) {
        let forward = page.events.last().map(|event| event.position);
        let backward = page.events.first().map(|event| event.position);
        let forward = Self {
            direction: Direction::Forward,
            position: forward.or(bounds.position).unwrap_or(START),
        };
        let backward = Self {
            direction: Direction::Backward,
            position: backward.or(bounds.position).unwrap_or(END),
        };
        (forward, backward)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Backward => 'b',
            Direction::Forward => 'f',
        };
        write!(f, "{direction}/{}/s", self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_are_written() {
        for position in [
            START,
            END,
            Position {
                time: 7,
                arrival: 9,
            },
        ] {
            for direction in [Direction::Forward, Direction::Backward] {
                let token = Token {
                    direction,
                    position,
                };
                assert_eq!(Token::parse(&token.to_string()), Some(token));
            }
        }
        for text in ["", "f/", "x/00/s", "f/12/s", "token"] {
            assert_eq!(Token::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_page_without_events_ends_where_it_began() {
        let position = Some(Position {
            time: 7,
            arrival: 9,
        });
        let bounds = Bounds {
            direction: Direction::Forward,
            position,
            limit: 1,
        };
        let (forward, backward) = Token::after(&Page::default(), bounds);
        assert_eq!(
            (Some(forward.position), Some(backward.position)),
            (position, position)
        );
        let fresh = Bounds {
            position: None,
            ..bounds
        };
        let (forward, backward) = Token::after(&Page::default(), fresh);
        assert_eq!((forward.position, backward.position), (START, END));
    }
}
