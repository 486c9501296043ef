//! The rules of composite alarms: expressions over the states of other alarms.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Create_Composite_Alarm.html>

use std::collections::BTreeSet;

use enid_model::alarm::AlarmState;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    And(Box<Self>, Box<Self>),
    Constant(bool),
    Not(Box<Self>),
    Or(Box<Self>, Box<Self>),
    /// Whether an alarm is in a state.
    Is(AlarmState, String),
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The text ends too early.
    #[error("unexpected end")]
    End,
    /// AWS has the function, Enid does not.
    #[error("Enid does not implement {0}")]
    NotImplemented(String),
    /// Too many parentheses.
    #[error("it is nested too deeply")]
    TooDeep,
    /// It has more than 10,240 characters.
    #[error("it is longer than 10240 characters")]
    TooLong,
    /// It names more than 100 alarms.
    #[error("it refers to more than 100 alarms")]
    TooManyChildren,
    /// Something stands where it cannot.
    #[error("unexpected '{0}'")]
    Unexpected(String),
}

const LENGTH_MAX: usize = 10_240;
const DEPTH_MAX: usize = 64;
const CHILDREN_MAX: usize = 100;

/// The names of the alarms that a rule is about.
pub fn alarm_children(text: &str) -> Result<BTreeSet<String>, RuleError> {
    Ok(Rule::parse(text)?.children())
}

impl Rule {
    /// Reads a rule.
    pub(crate) fn parse(text: &str) -> Result<Self, RuleError> {
        if text.chars().count() > LENGTH_MAX {
            return Err(RuleError::TooLong);
        }
        let mut parser = Parser {
            rest: text,
            depth: 0,
        };
        let rule = parser.any()?;
        parser.skip();
        if let Some(letter) = parser.rest.chars().next() {
            return Err(RuleError::Unexpected(letter.to_string()));
        }
        match rule.children().len() > CHILDREN_MAX {
            true => Err(RuleError::TooManyChildren),
            false => Ok(rule),
        }
    }

    /// The alarms that it is about.
    pub(crate) fn children(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![self];
        while let Some(rule) = open.pop() {
            match rule {
                Self::And(left, right) | Self::Or(left, right) => open.extend([&**left, &**right]),
                Self::Not(inner) => open.push(inner),
                Self::Is(_, name) => {
                    found.insert(name.clone());
                }
                Self::Constant(_) => {}
            }
        }
        found
    }

    /// Whether it holds. An alarm that is gone is in no state.
    pub(crate) fn holds(&self, state: &dyn Fn(&str) -> Option<AlarmState>) -> bool {
        match self {
            Self::And(left, right) => left.holds(state) && right.holds(state),
            Self::Or(left, right) => left.holds(state) || right.holds(state),
            Self::Not(inner) => !inner.holds(state),
            Self::Constant(truth) => *truth,
            Self::Is(wanted, name) => state(name) == Some(*wanted),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// The next word, if there is one.
    fn word(&mut self) -> &'a str {
        self.skip();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let end = self.rest.find(|letter| !plain(letter));
        let (word, rest) = self
            .rest
            .split_at_checked(end.unwrap_or(self.rest.len()))
            .unwrap_or_default();
        self.rest = rest;
        word
    }

    fn takes_word(&mut self, wanted: &str) -> bool {
        let before = self.rest;
        let found = self.word() == wanted;
        if !found {
            self.rest = before;
        }
        found
    }

    fn takes(&mut self, sign: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, sign: char) -> Result<(), RuleError> {
        match self.takes(sign) {
            true => Ok(()),
            false => Err(self.unexpected()),
        }
    }

    fn unexpected(&self) -> RuleError {
        match self.rest.chars().next() {
            Some(letter) => RuleError::Unexpected(letter.to_string()),
            None => RuleError::End,
        }
    }

    fn deeper<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, RuleError>,
    ) -> Result<T, RuleError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(RuleError::TooDeep);
        }
        let parsed = parse(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    fn any(&mut self) -> Result<Rule, RuleError> {
        let mut left = self.all()?;
        while self.takes_word("OR") {
            left = Rule::Or(Box::new(left), Box::new(self.all()?));
        }
        Ok(left)
    }

    fn all(&mut self) -> Result<Rule, RuleError> {
        let mut left = self.one()?;
        while self.takes_word("AND") {
            left = Rule::And(Box::new(left), Box::new(self.one()?));
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<Rule, RuleError> {
        if self.takes('(') {
            let inner = self.deeper(Self::any)?;
            self.expect(')')?;
            return Ok(inner);
        }
        match self.word() {
            "" => Err(self.unexpected()),
            "NOT" => Ok(Rule::Not(Box::new(self.deeper(Self::one)?))),
            "TRUE" => Ok(Rule::Constant(true)),
            "FALSE" => Ok(Rule::Constant(false)),
            "AT_LEAST" => Err(RuleError::NotImplemented("AT_LEAST".to_owned())),
            word => match AlarmState::named(word) {
                Some(state) => Ok(Rule::Is(state, self.child()?)),
                None => Err(RuleError::Unexpected(word.to_owned())),
            },
        }
    }

    /// `("name")`, `(name)` or `(arn)`.
    fn child(&mut self) -> Result<String, RuleError> {
        self.expect('(')?;
        self.skip();
        let text = match self.rest.strip_prefix('"') {
            Some(inside) => {
                let (text, rest) = inside.split_once('"').ok_or(RuleError::End)?;
                self.rest = rest;
                text
            }
            None => {
                let end = self.rest.find(')').ok_or(RuleError::End)?;
                let (text, rest) = self.rest.split_at_checked(end).unwrap_or_default();
                self.rest = rest;
                text.trim_end()
            }
        };
        if text.is_empty() {
            return Err(self.unexpected());
        }
        self.expect(')')?;
        // Names and ARNs of one alarm are one child.
        let name = match text.starts_with("arn:") {
            true => text.splitn(7, ':').nth(6).unwrap_or(text),
            false => text,
        };
        Ok(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        let state = |name: &str| match name {
            "on" => Some(AlarmState::Alarm),
            "off" | "o f f" => Some(AlarmState::Ok),
            "new" => Some(AlarmState::InsufficientData),
            _ => None,
        };
        Rule::parse(text).unwrap().holds(&state)
    }

    #[test]
    fn rules_hold_as_they_read() {
        for (text, wanted) in [
            ("ALARM(\"on\")", true),
            ("ALARM(on)", true),
            ("ALARM(off)", false),
            ("OK(\"o f f\")", true),
            ("INSUFFICIENT_DATA(new)", true),
            ("OK(gone)", false),
            ("NOT OK(gone)", true),
            ("TRUE", true),
            ("FALSE OR TRUE", true),
            ("TRUE AND FALSE OR TRUE", true),
            ("TRUE OR TRUE AND FALSE", true),
            ("(TRUE OR TRUE) AND FALSE", false),
            ("NOT (ALARM(on) AND OK(off))", false),
            ("NOT NOT TRUE", true),
            (
                "ALARM(\"arn:aws:cloudwatch:eu-west-1:123456789012:alarm:on\")",
                true,
            ),
        ] {
            assert_eq!(holds(text), wanted, "{text}");
        }
        let both = alarm_children("ALARM(a) OR (OK(\"b\") AND NOT ALARM(a))").unwrap();
        assert_eq!(both.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        let many: Vec<String> = (0..101).map(|n| format!("ALARM(a{n})")).collect();
        for (text, wanted) in [
            ("", "unexpected end"),
            ("ALARM", "unexpected end"),
            ("ALARM()", "unexpected ')'"),
            ("ALARM(a", "unexpected end"),
            ("ALARM(\"a)", "unexpected end"),
            ("ALARM(a) OK(b)", "unexpected 'O'"),
            ("alarm(a)", "unexpected 'alarm'"),
            ("ALARM(a) AND", "unexpected end"),
            ("(ALARM(a)", "unexpected end"),
            (
                "AT_LEAST(1, ALARM, (a))",
                "Enid does not implement AT_LEAST",
            ),
            (&"(".repeat(1000), "it is nested too deeply"),
            (&" ".repeat(10_241), "it is longer than 10240 characters"),
            (&many.join(" OR "), "it refers to more than 100 alarms"),
        ] {
            assert_eq!(Rule::parse(text).unwrap_err().to_string(), wanted, "{text}");
        }
    }
}
