//! Units of datapoints. Different units of one metric are kept apart; nothing is converted.

use std::fmt;

/// A unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit(u8);

/// AWS's names, in the order in which they are stored: append only.
const NAMES: [&str; 27] = [
    "None",
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
];

impl Unit {
    /// No unit.
    pub const NONE: Self = Self(0);
    /// Seconds.
    pub const SECONDS: Self = Self(1);
    /// Microseconds.
    pub const MICROSECONDS: Self = Self(2);
    /// Bytes.
    pub const BYTES: Self = Self(4);
    /// Percent.
    pub const PERCENT: Self = Self(14);
    /// Count.
    pub const COUNT: Self = Self(15);

    /// The unit of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let at = NAMES.iter().position(|known| *known == name)?;
        u8::try_from(at).ok().map(Self)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("None")
    }

    /// The number by which it is stored.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// The unit of a stored number; one that a later version has added is none to this one.
    #[must_use]
    pub fn numbered(number: u8) -> Self {
        match usize::from(number) < NAMES.len() {
            true => Self(number),
            false => Self::NONE,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_have_their_names() {
        for (unit, name) in [
            (Unit::NONE, "None"),
            (Unit::SECONDS, "Seconds"),
            (Unit::MICROSECONDS, "Microseconds"),
            (Unit::BYTES, "Bytes"),
            (Unit::COUNT, "Count"),
        ] {
            assert_eq!(unit.as_str(), name);
            assert_eq!(Unit::named(name), Some(unit));
            assert_eq!(Unit::numbered(unit.number()), unit);
        }
        assert_eq!(Unit::named("bytes"), None);
        assert_eq!(Unit::numbered(200), Unit::NONE);
    }
}
