//! From the text of an expression to its tree.

use std::collections::BTreeSet;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// `[m1, m2]`.
    Array(Vec<Self>),
    /// Two expressions and what is between them.
    Binary(Operator, Box<Self>, Box<Self>),
    /// `AVG(m1)`: a function that there is, with its arguments.
    Call(String, Vec<Self>),
    /// `m1`, or a word that a function knows, such as `REPEAT`.
    Name(String),
    /// `-x`.
    Negative(Box<Self>),
    /// A number.
    Number(f64),
    /// A text in quotes.
    Text(String),
}

/// What stands between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `AND`, `&&`
    And,
    /// `/`
    Divide,
    /// `==`
    Equal,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `*`
    Multiply,
    /// `!=`
    NotEqual,
    /// `OR`, `||`
    Or,
    /// `^`
    Power,
    /// `-`
    Subtract,
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Something stands where it cannot.
    #[error("unexpected '{0}'")]
    Unexpected(String),
    /// The text ends too early.
    #[error("unexpected end")]
    End,
    /// AWS has the function, Enid does not.
    #[error("Enid does not implement the function {0}")]
    NotImplemented(String),
    /// A function that nobody has.
    #[error("unknown function '{0}'")]
    UnknownFunction(String),
    /// Too many parentheses or signs.
    #[error("the expression is nested too deeply")]
    TooDeep,
}

/// Functions that AWS has and Enid has not.
const NOT_IMPLEMENTED: [&str; 4] = [
    "DB_PERF_INSIGHTS",
    "INSIGHT_RULE_METRIC",
    "LAMBDA",
    "SERVICE_QUOTA",
];
const DEPTH_MAX: usize = 64;

/// Reads an expression.
pub fn parse(text: &str) -> Result<Expression, ParseError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
    };
    let expression = parser.expression(0)?;
    match parser.next() {
        None => Ok(expression),
        Some(token) => Err(ParseError::Unexpected(token.to_string())),
    }
}

impl Expression {
    /// The ids that an expression refers to.
    #[must_use]
    pub fn references(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut open = vec![self];
        while let Some(expression) = open.pop() {
            match expression {
                Self::Array(parts) | Self::Call(_, parts) => open.extend(parts),
                Self::Binary(_, left, right) => open.extend([&**left, &**right]),
                Self::Negative(inner) => open.push(inner),
                Self::Name(name) if is_id(name) => {
                    found.insert(name.as_str());
                }
                Self::Name(_) | Self::Number(_) | Self::Text(_) => {}
            }
        }
        found
    }

    /// Whether it calls a function.
    #[must_use]
    pub fn calls(&self, name: &str) -> bool {
        match self {
            Self::Call(function, parts) => {
                function == name || parts.iter().any(|part| part.calls(name))
            }
            Self::Array(parts) => parts.iter().any(|part| part.calls(name)),
            Self::Binary(_, left, right) => left.calls(name) || right.calls(name),
            Self::Negative(inner) => inner.calls(name),
            Self::Name(_) | Self::Number(_) | Self::Text(_) => false,
        }
    }
}

impl Expression {
    /// The text of an expression, with what names stand for instead of them. Each operator has its
    /// parentheses, so that the same tree has the same text.
    #[must_use]
    pub fn shown(&self, name: &dyn Fn(&str) -> String) -> String {
        let list = |parts: &[Self]| {
            let parts = parts.iter().map(|part| part.shown(name));
            parts.collect::<Vec<_>>().join(",")
        };
        match self {
            Self::Array(parts) => format!("[{}]", list(parts)),
            Self::Binary(operator, left, right) => {
                let (left, right) = (left.shown(name), right.shown(name));
                format!("({left}{}{right})", operator.sign())
            }
            Self::Call(function, parts) => format!("{function}({})", list(parts)),
            Self::Name(id) => name(id),
            Self::Negative(inner) => format!("(-{})", inner.shown(name)),
            Self::Number(number) => number.to_string(),
            // A text in quotes of one kind has none of them inside.
            Self::Text(text) if text.contains('\'') => format!("\"{text}\""),
            Self::Text(text) => format!("'{text}'"),
        }
    }
}

impl Operator {
    fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::And => "&&",
            Self::Divide => "/",
            Self::Equal => "==",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Multiply => "*",
            Self::NotEqual => "!=",
            Self::Or => "||",
            Self::Power => "^",
            Self::Subtract => "-",
        }
    }
}

/// Whether a text can be the id of a query: it starts with a small letter.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_lowercase())
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64),
    Text(String),
    Word(String),
    Sign(&'static str),
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) | Self::Word(text) => f.write_str(text),
            Self::Sign(sign) => f.write_str(sign),
        }
    }
}

/// Longer ones first: `<=` is not `<`.
const SIGNS: [&str; 19] = [
    "==", "!=", "<=", ">=", "&&", "||", "+", "-", "*", "/", "^", "<", ">", "(", ")", "[", "]", ",",
    "=",
];

fn tokens(text: &str) -> Result<Vec<Token>, ParseError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = if first.is_ascii_digit() || first == '.' {
            let length = number(rest);
            let (digits, _) = rest.split_at_checked(length).unwrap_or_default();
            let number = digits.parse();
            let unexpected = |_| ParseError::Unexpected(first.to_string());
            tokens.push(Token::Number(number.map_err(unexpected)?));
            length
        } else if first == '\'' || first == '"' {
            let inside = rest.get(1..).unwrap_or_default();
            let end = inside.find(first).ok_or(ParseError::End)?;
            tokens.push(Token::Text(
                inside.get(..end).unwrap_or_default().to_owned(),
            ));
            end + 2
        } else if first.is_ascii_alphabetic() || first == '_' {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let length = rest.find(|letter| !plain(letter)).unwrap_or(rest.len());
            tokens.push(Token::Word(
                rest.get(..length).unwrap_or_default().to_owned(),
            ));
            length
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| ParseError::Unexpected(first.to_string()))?;
            tokens.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest.get(taken..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

/// How long a number at the start is: digits, a point, an exponent.
fn number(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let signed = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
        let start = end + 1 + usize::from(signed);
        if digits(start) > start {
            end = digits(start);
        }
    }
    end
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

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += usize::from(token.is_some());
        token
    }

    fn takes(&mut self, sign: &'static str) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), ParseError> {
        match self.takes(sign) {
            true => Ok(()),
            false => Err(self.unexpected()),
        }
    }

    fn unexpected(&self) -> ParseError {
        match self.peek() {
            Some(token) => ParseError::Unexpected(token.to_string()),
            None => ParseError::End,
        }
    }

    /// An expression of operators that bind at least so strongly.
    fn expression(&mut self, strength: u8) -> Result<Expression, ParseError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ParseError::TooDeep);
        }
        let mut left = self.operand()?;
        while let Some((operator, binds)) = self.peek().and_then(operator) {
            if binds < strength {
                break;
            }
            self.at += 1;
            // `^` groups from the right, all others from the left.
            let right = match operator {
                Operator::Power => self.expression(binds)?,
                _ => self.expression(binds + 1)?,
            };
            left = Expression::Binary(operator, Box::new(left), Box::new(right));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operand(&mut self) -> Result<Expression, ParseError> {
        if self.takes("-") {
            // Weaker than `^`, stronger than `*`.
            return Ok(Expression::Negative(Box::new(self.expression(POWER)?)));
        }
        if self.takes("(") {
            let inner = self.expression(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.takes("[") {
            return Ok(Expression::Array(self.list("]")?));
        }
        match self.next() {
            Some(Token::Number(number)) => Ok(Expression::Number(number)),
            Some(Token::Text(text)) => Ok(Expression::Text(text)),
            Some(Token::Word(word)) if self.takes("(") => {
                if NOT_IMPLEMENTED.contains(&word.as_str()) {
                    return Err(ParseError::NotImplemented(word));
                }
                if !super::function::is_known(&word) {
                    return Err(ParseError::UnknownFunction(word));
                }
                Ok(Expression::Call(word, self.list(")")?))
            }
            Some(Token::Word(word)) if word != "AND" && word != "OR" => Ok(Expression::Name(word)),
            Some(token) => Err(ParseError::Unexpected(token.to_string())),
            None => Err(ParseError::End),
        }
    }

    /// What stands between commas up to a closing sign.
    fn list(&mut self, end: &'static str) -> Result<Vec<Expression>, ParseError> {
        let mut parts = Vec::new();
        if self.takes(end) {
            return Ok(parts);
        }
        loop {
            parts.push(self.expression(0)?);
            if self.takes(end) {
                return Ok(parts);
            }
            self.expect(",")?;
        }
    }
}

const POWER: u8 = 5;

fn operator(token: &Token) -> Option<(Operator, u8)> {
    let text = match token {
        Token::Sign(sign) => sign,
        Token::Word(word) => word.as_str(),
        Token::Number(_) | Token::Text(_) => return None,
    };
    Some(match text {
        "||" | "OR" => (Operator::Or, 0),
        "&&" | "AND" => (Operator::And, 1),
        "==" => (Operator::Equal, 2),
        "!=" => (Operator::NotEqual, 2),
        "<" => (Operator::Less, 2),
        "<=" => (Operator::LessOrEqual, 2),
        ">" => (Operator::Greater, 2),
        ">=" => (Operator::GreaterOrEqual, 2),
        "+" => (Operator::Add, 3),
        "-" => (Operator::Subtract, 3),
        "*" => (Operator::Multiply, 4),
        "/" => (Operator::Divide, 4),
        "^" => (Operator::Power, POWER),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With all parentheses written out.
    fn shown(expression: &Expression) -> String {
        let all = |parts: &[Expression]| parts.iter().map(shown).collect::<Vec<_>>().join(",");
        match expression {
            Expression::Array(parts) => format!("[{}]", all(parts)),
            Expression::Binary(operator, left, right) => {
                format!("({} {operator:?} {})", shown(left), shown(right))
            }
            Expression::Call(name, parts) => format!("{name}({})", all(parts)),
            Expression::Name(name) => name.clone(),
            Expression::Negative(inner) => format!("-{}", shown(inner)),
            Expression::Number(number) => number.to_string(),
            Expression::Text(text) => format!("'{text}'"),
        }
    }

    #[test]
    fn operators_bind_as_in_arithmetic() {
        for (text, wanted) in [
            ("m1+m2*3", "(m1 Add (m2 Multiply 3))"),
            ("1-2-3", "((1 Subtract 2) Subtract 3)"),
            ("2^3^2", "(2 Power (3 Power 2))"),
            ("-m1^2", "-(m1 Power 2)"),
            ("-m1*2", "(-m1 Multiply 2)"),
            ("(1+2)*3", "((1 Add 2) Multiply 3)"),
            (
                "a>1 AND b<=2 || c==3",
                "(((a Greater 1) And (b LessOrEqual 2)) Or (c Equal 3))",
            ),
            ("1e3+.5", "(1000 Add 0.5)"),
            ("SUM([m1,m2])/100", "(SUM([m1,m2]) Divide 100)"),
            ("METRICS()", "METRICS()"),
            (
                "SEARCH('{N,D} x=\"y\"', 'Sum')",
                "SEARCH('{N,D} x=\"y\"','Sum')",
            ),
            ("FILL(m1, REPEAT)", "FILL(m1,REPEAT)"),
        ] {
            assert_eq!(shown(&parse(text).unwrap()), wanted, "{text}");
        }
        let both = parse("m1+SUM([m2, m1, REPEAT])").unwrap();
        assert_eq!(
            both.references().into_iter().collect::<Vec<_>>(),
            ["m1", "m2"]
        );
        assert!(both.calls("SUM") && !both.calls("AVG"));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for (text, wanted) in [
            ("", "unexpected end"),
            ("m1+", "unexpected end"),
            ("m1 m2", "unexpected 'm2'"),
            ("(m1", "unexpected end"),
            ("m1)", "unexpected ')'"),
            ("m1 # m2", "unexpected '#'"),
            ("'x", "unexpected end"),
            ("NOPE(m1)", "unknown function 'NOPE'"),
            ("avg(m1)", "unknown function 'avg'"),
            (
                "SERVICE_QUOTA(m1)",
                "Enid does not implement the function SERVICE_QUOTA",
            ),
            ("AND", "unexpected 'AND'"),
            ("1.2.3", "unexpected '0.3'"),
            (&"(".repeat(1000), "the expression is nested too deeply"),
            (&"-".repeat(1000), "the expression is nested too deeply"),
            ("é", "unexpected 'é'"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), wanted, "{text}");
        }
    }
}
