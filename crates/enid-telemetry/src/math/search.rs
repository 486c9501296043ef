//! Searches for metrics by the words in their names.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/search-expression-syntax.html>

use crate::metric::identity::Identity;

/// A search.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// Namespace and names of dimensions: exactly these.
    schema: Option<(String, Vec<String>)>,
    terms: Term,
}

/// Why a text is no search.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The text ends too early.
    #[error("unexpected end")]
    End,
    /// It has more than 1,024 characters.
    #[error("it is longer than 1024 characters")]
    TooLong,
    /// Something stands where it cannot.
    #[error("unexpected '{0}'")]
    Unexpected(String),
    /// Too many parentheses.
    #[error("it is nested too deeply")]
    TooDeep,
}

/// The longest search.
const LENGTH_MAX: usize = 1024;
const DEPTH_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq)]
enum Term {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    /// A word, or several that belong together, in any name or in those of one property.
    Word(Option<String>, Word),
}

#[derive(Clone, Debug, PartialEq)]
enum Word {
    /// A whole name, to the letter.
    Exact(String),
    /// Words that follow one another in a name.
    Tokens(Vec<String>),
}

impl Search {
    /// Reads a search.
    pub fn parse(text: &str) -> Result<Self, SearchError> {
        if text.chars().count() > LENGTH_MAX {
            return Err(SearchError::TooLong);
        }
        let mut rest = text.trim();
        let mut schema = None;
        if let Some(inside) = rest.strip_prefix('{') {
            let (inside, after) = inside.split_once('}').ok_or(SearchError::End)?;
            let mut names = inside
                .split(',')
                .map(|name| name.trim().trim_matches('"').to_owned());
            let namespace = names.next().unwrap_or_default();
            let mut names: Vec<String> = names.collect();
            names.sort();
            schema = Some((namespace, names));
            rest = after;
        }
        let mut parser = Parser {
            tokens: tokens(rest)?,
            at: 0,
            depth: 0,
        };
        let terms = match parser.tokens.is_empty() {
            true => Term::All(Vec::new()),
            false => parser.any(None)?,
        };
        match parser.tokens.get(parser.at) {
            None => Ok(Self { schema, terms }),
            Some(token) => Err(SearchError::Unexpected(token.shown())),
        }
    }

    /// Whether a metric is one that is searched for.
    #[must_use]
    pub fn finds(&self, metric: &Identity) -> bool {
        if let Some((namespace, names)) = &self.schema {
            let found = metric.dimensions().iter().map(|(name, _)| name);
            if *namespace != metric.namespace || !found.eq(names) {
                return false;
            }
        }
        self.terms.fits(metric)
    }
}

impl Term {
    fn fits(&self, metric: &Identity) -> bool {
        match self {
            Self::All(terms) => terms.iter().all(|term| term.fits(metric)),
            Self::Any(terms) => terms.iter().any(|term| term.fits(metric)),
            Self::Not(term) => !term.fits(metric),
            Self::Word(property, word) => match property.as_deref() {
                Some("Namespace") => word.fits(&metric.namespace),
                Some("MetricName") => word.fits(&metric.name),
                Some(name) => metric.dimension(name).is_some_and(|value| word.fits(value)),
                None => {
                    let dimensions = metric.dimensions().iter();
                    let names = dimensions.flat_map(|(name, value)| [name, value]);
                    let mut names = names.chain([&metric.namespace, &metric.name]);
                    names.any(|name| word.fits(name))
                }
            },
        }
    }
}

impl Word {
    fn fits(&self, name: &str) -> bool {
        match self {
            Self::Exact(text) => text == name,
            Self::Tokens(tokens) => {
                let found = words(name);
                match tokens.as_slice() {
                    [one] => found.iter().any(|word| word.eq_ignore_ascii_case(one)),
                    several => found.windows(several.len()).any(|part| part == several),
                }
            }
        }
    }
}

/// The words of a name: parted by all that is no letter or digit, before a capital that follows a small
/// letter, and where digits start.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before: Option<char> = None;
    for letter in name.chars() {
        if !letter.is_alphanumeric() {
            before = None;
            continue;
        }
        let starts = before.is_none_or(|before| {
            letter.is_uppercase() && !before.is_uppercase()
                || letter.is_numeric() && !before.is_numeric()
        });
        match words.last_mut() {
            Some(word) if !starts => word.push(letter),
            _ => words.push(letter.to_string()),
        }
        before = Some(letter);
    }
    words
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Close,
    Equals,
    Exact(String),
    Open,
    Plain(String),
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Self::Close => ")".to_owned(),
            Self::Equals => "=".to_owned(),
            Self::Exact(text) | Self::Plain(text) => text.clone(),
            Self::Open => "(".to_owned(),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, SearchError> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            '=' => tokens.push(Token::Equals),
            '"' => {
                let mut exact = String::new();
                loop {
                    match letters.next().ok_or(SearchError::End)? {
                        '"' => break,
                        '\\' => exact.push(letters.next().ok_or(SearchError::End)?),
                        letter => exact.push(letter),
                    }
                }
                tokens.push(Token::Exact(exact));
            }
            letter if letter.is_whitespace() => {}
            letter => {
                let mut plain = letter.to_string();
                while let Some(next) =
                    letters.next_if(|next| !next.is_whitespace() && !"()=\"".contains(*next))
                {
                    plain.push(next);
                }
                tokens.push(Token::Plain(plain));
            }
        }
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(&Token::Plain(word.to_owned()));
        self.at += usize::from(found);
        found
    }

    fn any(&mut self, property: Option<&str>) -> Result<Term, SearchError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(SearchError::TooDeep);
        }
        let mut terms = vec![self.all(property)?];
        while self.takes("OR") {
            terms.push(self.all(property)?);
        }
        self.depth -= 1;
        Ok(Term::Any(terms))
    }

    fn all(&mut self, property: Option<&str>) -> Result<Term, SearchError> {
        let mut terms = vec![self.one(property)?];
        loop {
            let joined = self.takes("AND");
            match self.peek() {
                None | Some(Token::Close) if !joined => break,
                Some(Token::Plain(word)) if word == "OR" && !joined => break,
                _ => terms.push(self.one(property)?),
            }
        }
        Ok(Term::All(terms))
    }

    fn one(&mut self, property: Option<&str>) -> Result<Term, SearchError> {
        if self.takes("NOT") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(SearchError::TooDeep);
            }
            let inner = self.one(property)?;
            self.depth -= 1;
            return Ok(Term::Not(Box::new(inner)));
        }
        let token = self.peek().cloned().ok_or(SearchError::End)?;
        self.at += 1;
        let word = match token {
            Token::Open => {
                let inner = self.any(property)?;
                return match self.peek() {
                    Some(Token::Close) => {
                        self.at += 1;
                        Ok(inner)
                    }
                    Some(token) => Err(SearchError::Unexpected(token.shown())),
                    None => Err(SearchError::End),
                };
            }
            Token::Exact(text) => (text.clone(), Word::Exact(text)),
            Token::Plain(text) => (text.clone(), Word::Tokens(words(&text))),
            token @ (Token::Close | Token::Equals) => {
                return Err(SearchError::Unexpected(token.shown()));
            }
        };
        if property.is_none() && self.peek() == Some(&Token::Equals) {
            self.at += 1;
            return self.one(Some(&word.0));
        }
        Ok(Term::Word(property.map(str::to_owned), word.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric() -> Identity {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let dimensions = vec![pair("InstanceId", "i-0abc12"), pair("Stage", "gamma")];
        Identity::new("AWS/EC2", "CPUUtilization", dimensions).unwrap()
    }

    #[test]
    fn names_are_parted_into_words() {
        for (name, wanted) in [
            ("AWS/EC2", "AWS EC 2"),
            ("CPUUtilization", "CPUUtilization"),
            ("InstanceId", "Instance Id"),
            ("NetworkPacketsIn", "Network Packets In"),
            ("i-0abc12", "i 0abc 12"),
            ("my_metric.name", "my metric name"),
        ] {
            assert_eq!(words(name).join(" "), wanted, "{name}");
        }
    }

    #[test]
    fn searches_find_what_they_say() {
        for (text, wanted) in [
            ("", true),
            ("{AWS/EC2,InstanceId,Stage}", true),
            ("{AWS/EC2,Stage,InstanceId} gamma", true),
            ("{AWS/EC2,InstanceId}", false),
            ("{AWS/EC2}", false),
            ("{\"AWS/EC2\",Stage,InstanceId}", true),
            ("GAMMA", true),
            ("beta", false),
            ("gam", false),
            ("beta OR gamma", true),
            ("gamma AND beta", false),
            ("gamma beta", false),
            ("gamma NOT beta", true),
            ("NOT gamma", false),
            ("(beta OR gamma) MetricName=\"CPUUtilization\"", true),
            ("MetricName=\"CPU\"", false),
            ("\"CPUUtilization\"", true),
            ("Stage=gamma", true),
            ("Stage=(beta OR gamma)", true),
            ("Stage=cpuutilization", false),
            ("InstanceId=i-0abc12", true),
            ("i-0ABC12", false),
            ("Namespace=\"AWS/EC2\"", true),
            ("Zone=gamma", false),
            ("instance", true),
        ] {
            let search = Search::parse(text).unwrap();
            assert_eq!(search.finds(&metric()), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_search_is_refused() {
        for (text, wanted) in [
            ("{AWS/EC2", "unexpected end"),
            ("(a", "unexpected end"),
            ("a)", "unexpected ')'"),
            ("= a", "unexpected '='"),
            ("a AND", "unexpected end"),
            ("a OR", "unexpected end"),
            ("NOT", "unexpected end"),
            ("\"a", "unexpected end"),
            (&"x".repeat(1025), "it is longer than 1024 characters"),
            (&"(".repeat(1000), "it is nested too deeply"),
        ] {
            assert_eq!(
                Search::parse(text).unwrap_err().to_string(),
                wanted,
                "{text}"
            );
        }
    }
}
