//! Expressions of the query language, from the loosest binding to the tightest: `or`, `and`, `not`,
//! comparisons, sums, products, powers, signs.

use std::ops::RangeInclusive;

use super::function::{Aggregate, Function};
use super::lexer::{Lexer, QueryError, Token};
use super::parse::regex;
use super::plan::{Arithmetic, Comparison, Expr, Key, Likeness, Period};

/// Reading expressions.
pub(super) trait Expressions {
    /// One of the values of one row.
    fn scalar(&mut self) -> Result<Expr, QueryError>;
    /// One of the rows of a set.
    fn aggregate(&mut self) -> Result<Expr, QueryError>;
}

impl Expressions for Lexer<'_> {
    fn scalar(&mut self) -> Result<Expr, QueryError> {
        let start = self.start();
        let expr = any(self, 0)?;
        if expr.has_aggregate() {
            let text = self.text_since(start).trim().to_owned();
            let message = format!("{text} is for the command stats only");
            return Err(self.error_since(message, start));
        }
        Ok(expr)
    }

    fn aggregate(&mut self) -> Result<Expr, QueryError> {
        any(self, 0)
    }
}

/// How deep expressions may be.
const DEPTH_MAX: usize = 64;

fn any(lexer: &mut Lexer<'_>, depth: usize) -> Result<Expr, QueryError> {
    if depth > DEPTH_MAX {
        return Err(lexer.error("the expression is too deep".to_owned()));
    }
    let mut left = all(lexer, depth)?;
    while lexer.eat_word("or")? {
        lexer.count_operator()?;
        left = Expr::Or(left.into(), all(lexer, depth)?.into());
    }
    Ok(left)
}

fn all(lexer: &mut Lexer<'_>, depth: usize) -> Result<Expr, QueryError> {
    let mut left = inverse(lexer, depth)?;
    while lexer.eat_word("and")? {
        lexer.count_operator()?;
        left = Expr::And(left.into(), inverse(lexer, depth)?.into());
    }
    Ok(left)
}

fn inverse(lexer: &mut Lexer<'_>, depth: usize) -> Result<Expr, QueryError> {
    // Several in a row cancel out; a loop, so that they take no stack.
    let mut is_inverse = false;
    while lexer.eat_word("not")? || lexer.eat("!")? {
        is_inverse = !is_inverse;
    }
    let expr = comparison(lexer, depth)?;
    Ok(if is_inverse {
        Expr::Not(expr.into())
    } else {
        expr
    })
}

fn comparison(lexer: &mut Lexer<'_>, depth: usize) -> Result<Expr, QueryError> {
    let left = sum(lexer, depth)?;
    let operators = [
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("=", Comparison::Equal),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    for (symbol, operator) in operators {
        if lexer.eat(symbol)? {
            return Ok(Expr::Compare(
                operator,
                left.into(),
                sum(lexer, depth)?.into(),
            ));
        }
    }
    if lexer.eat("=~")? {
        return Ok(Expr::Like(left.into(), likeness(lexer)?));
    }
    let is_inverse = lexer.eat_word("not")?;
    let expr = if lexer.eat_word("like")? {
        Expr::Like(left.into(), likeness(lexer)?)
    } else if lexer.eat_word("in")? {
        lexer.expect("[")?;
        let mut members = Vec::new();
        while !lexer.eat("]")? {
            if !members.is_empty() {
                lexer.expect(",")?;
            }
            members.push(sum(lexer, depth)?);
        }
        Expr::In(left.into(), members)
    } else if is_inverse {
        return Err(lexer.unexpected("like or in"));
    } else {
        return Ok(left);
    };
    Ok(if is_inverse {
        Expr::Not(expr.into())
    } else {
        expr
    })
}

fn likeness(lexer: &mut Lexer<'_>) -> Result<Likeness, QueryError> {
    let start = lexer.start();
    if let Some(text) = lexer.regex()? {
        return regex(lexer, &text, start).map(Likeness::Regex);
    }
    let wanted = lexer.unexpected("a text or a regular expression");
    match lexer.take()? {
        Token::Text(text) => Ok(Likeness::Text(text)),
        _ => Err(wanted),
    }
}

fn sum(lexer: &mut Lexer<'_>, depth: usize) -> Result<Expr, QueryError> {
    let operators = [("+", Arithmetic::Add), ("-", Arithmetic::Subtract)];
    left_to_right(lexer, depth, &operators, product)
}

fn product(lexer: &mut Lexer<'_>, depth: usize) -> Result<Expr, QueryError> {
    let operators = [
        ("*", Arithmetic::Multiply),
        ("/", Arithmetic::Divide),
        ("%", Arithmetic::Remainder),
    ];
    left_to_right(lexer, depth, &operators, power)
}

fn left_to_right(
    lexer: &mut Lexer<'_>,
    depth: usize,
    operators: &[(&str, Arithmetic)],
    part: fn(&mut Lexer<'_>, usize) -> Result<Expr, QueryError>,
) -> Result<Expr, QueryError> {
    let mut left = part(lexer, depth)?;
    'more: loop {
        for (symbol, operator) in operators {
            if lexer.eat(symbol)? {
                lexer.count_operator()?;
                let right = part(lexer, depth)?;
                left = Expr::Arithmetic(*operator, left.into(), right.into());
                continue 'more;
            }
        }
        return Ok(left);
    }
}

fn power(lexer: &mut Lexer<'_>, depth: usize) -> Result<Expr, QueryError> {
    if depth > DEPTH_MAX {
        return Err(lexer.error("the expression is too deep".to_owned()));
    }
    if lexer.eat("-")? {
        let of = power(lexer, depth + 1)?;
        return Ok(Expr::Negative(of.into()));
    }
    let base = atom(lexer, depth)?;
    if lexer.eat("^")? {
        let exponent = power(lexer, depth + 1)?;
        return Ok(Expr::Arithmetic(
            Arithmetic::Power,
            base.into(),
            exponent.into(),
        ));
    }
    Ok(base)
}

fn atom(lexer: &mut Lexer<'_>, depth: usize) -> Result<Expr, QueryError> {
    if lexer.eat("(")? {
        let inner = any(lexer, depth + 1)?;
        lexer.expect(")")?;
        return Ok(inner);
    }
    let start = lexer.start();
    let wanted = lexer.unexpected("an expression");
    Ok(match lexer.peek().clone() {
        Token::Number(number) => {
            lexer.take()?;
            Expr::Number(number)
        }
        Token::Period(count, unit) => {
            let unknown = lexer.error(format!("{count}{unit} is no period of time"));
            lexer.take()?;
            Expr::Period(Period::new(count, &unit).ok_or(unknown)?)
        }
        Token::Text(text) => {
            lexer.take()?;
            Expr::Text(text)
        }
        Token::Name { text, is_quoted } => {
            lexer.take()?;
            if !is_quoted && lexer.eat("(")? {
                let call = call(lexer, &text, start, depth)?;
                return access(lexer, call, false);
            }
            // `map.` before a member's name in backticks.
            let is_open = !is_quoted && text.ends_with('.');
            let is_open = is_open
                && matches!(
                    lexer.peek(),
                    Token::Name {
                        is_quoted: true,
                        ..
                    }
                );
            let name = if is_open {
                text.trim_end_matches('.')
            } else {
                &text
            };
            return access(lexer, Expr::Field(name.to_owned()), is_open);
        }
        Token::End | Token::Symbol(_) => return Err(wanted),
    })
}

/// What is in a map or list: `[0]` and `.name` as often as one likes. After a point that was taken
/// already, a name must follow.
fn access(lexer: &mut Lexer<'_>, of: Expr, mut is_open: bool) -> Result<Expr, QueryError> {
    let mut keys = Vec::new();
    loop {
        if std::mem::take(&mut is_open) || lexer.eat(".")? {
            let wanted = lexer.unexpected("the name of a member");
            let Token::Name { text, is_quoted } = lexer.take()? else {
                return Err(wanted);
            };
            if is_quoted {
                keys.push(Key::Name(text));
                continue;
            }
            is_open = text.ends_with('.');
            let names = text.trim_end_matches('.').split('.');
            keys.extend(names.map(|name| Key::Name(name.to_owned())));
        } else if lexer.eat("[")? {
            let wanted = lexer.unexpected("a place in a list");
            let Token::Number(number) = lexer.take()? else {
                return Err(wanted);
            };
            // A whole number is written without a point.
            let index = number.to_string().parse().map_err(|_fraction| wanted)?;
            lexer.expect("]")?;
            keys.push(Key::Index(index));
        } else {
            break;
        }
        if keys.len() > KEYS_MAX {
            return Err(lexer.error(format!("an access has {KEYS_MAX} keys at most")));
        }
    }
    Ok(match keys.is_empty() {
        true => of,
        false => Expr::Access(of.into(), keys),
    })
}

/// What is deeper is in no JSON that is read.
const KEYS_MAX: usize = 128;

fn call(lexer: &mut Lexer<'_>, name: &str, start: usize, depth: usize) -> Result<Expr, QueryError> {
    let mut arguments = Vec::new();
    // `count(*)` counts rows.
    let is_of_rows = lexer.eat("*")?;
    while !lexer.eat(")")? {
        if is_of_rows {
            return Err(lexer.unexpected(")"));
        }
        if !arguments.is_empty() {
            lexer.expect(",")?;
        }
        arguments.push(any(lexer, depth + 1)?);
    }
    let check = |arguments: &[Expr], takes: RangeInclusive<usize>| {
        if takes.contains(&arguments.len()) {
            return Ok(());
        }
        let (least, most) = (takes.start(), takes.end());
        let takes = if least == most {
            least.to_string()
        } else {
            format!("{least} to {most}")
        };
        Err(lexer.error_since(format!("{name} takes {takes} arguments"), start))
    };
    if let Some((aggregate, takes)) = Aggregate::named(name) {
        check(&arguments, takes)?;
        if is_of_rows && aggregate != Aggregate::Count {
            return Err(lexer.error_since(format!("{name} takes no asterisk"), start));
        }
        if arguments.iter().any(Expr::has_aggregate) {
            let message = format!("{name} is of rows, not of what is reckoned of them");
            return Err(lexer.error_since(message, start));
        }
        return Ok(Expr::Aggregate(aggregate, arguments));
    }
    let Some((function, takes)) = Function::named(name) else {
        return Err(lexer.error_since(format!("unknown function {name}"), start));
    };
    check(&arguments, takes)?;
    if function == Function::Now && !is_of_rows {
        #[expect(clippy::cast_precision_loss, reason = "seconds stay below 2^53")]
        let seconds = lexer.now().0.div_euclid(1_000) as f64;
        return Ok(Expr::Number(seconds));
    }
    let is_period = |it: &Expr| matches!(it, Expr::Period(_));
    let wants_period = match function {
        Function::Bin => Some(0),
        Function::DateCeiling | Function::DateFloor => Some(1),
        _ => None,
    };
    let fits = |(at, it): (usize, &Expr)| is_period(it) == (Some(at) == wants_period);
    if is_of_rows || !arguments.iter().enumerate().all(fits) {
        let message = format!("{name} does not take these arguments");
        return Err(lexer.error_since(message, start));
    }
    Ok(Expr::Call(function, arguments))
}

impl Expr {
    /// Whether a part of it is of the rows of a set.
    #[must_use]
    pub fn has_aggregate(&self) -> bool {
        match self {
            Self::Aggregate(..) => true,
            Self::And(a, b)
            | Self::Arithmetic(_, a, b)
            | Self::Compare(_, a, b)
            | Self::Or(a, b) => a.has_aggregate() || b.has_aggregate(),
            Self::Access(of, _) => of.has_aggregate(),
            Self::Call(_, all) => all.iter().any(Self::has_aggregate),
            Self::In(of, all) => of.has_aggregate() || all.iter().any(Self::has_aggregate),
            Self::Like(of, _) | Self::Negative(of) | Self::Not(of) => of.has_aggregate(),
            Self::Field(_) | Self::Number(_) | Self::Period(_) | Self::Text(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use enid_model::time::Timestamp;

    use super::*;

    /// An expression with all its parentheses.
    fn shape(expr: &Expr) -> String {
        match expr {
            Expr::Aggregate(of, arguments) => {
                let arguments: Vec<_> = arguments.iter().map(shape).collect();
                format!("{of:?}[{}]", arguments.join(" "))
            }
            Expr::Access(of, keys) => format!("{}{keys:?}", shape(of)),
            Expr::And(a, b) => format!("({} and {})", shape(a), shape(b)),
            Expr::Arithmetic(of, a, b) => format!("({of:?} {} {})", shape(a), shape(b)),
            Expr::Call(of, arguments) => {
                let arguments: Vec<_> = arguments.iter().map(shape).collect();
                format!("{of:?}[{}]", arguments.join(" "))
            }
            Expr::Compare(of, a, b) => format!("({of:?} {} {})", shape(a), shape(b)),
            Expr::Field(name) => name.clone(),
            Expr::In(of, all) => {
                let all: Vec<_> = all.iter().map(shape).collect();
                format!("({} in {})", shape(of), all.join(" "))
            }
            Expr::Like(of, Likeness::Regex(regex)) => format!("({} ~ {regex})", shape(of)),
            Expr::Like(of, Likeness::Text(text)) => format!("({} like {text})", shape(of)),
            Expr::Negative(of) => format!("-{}", shape(of)),
            Expr::Not(of) => format!("!{}", shape(of)),
            Expr::Number(number) => number.to_string(),
            Expr::Or(a, b) => format!("({} or {})", shape(a), shape(b)),
            Expr::Period(period) => format!("{period:?}"),
            Expr::Text(text) => format!("'{text}'"),
        }
    }

    #[test]
    fn operators_bind_as_they_should() {
        for (text, expected) in [
            ("a or b and not c", "(a or (b and !c))"),
            ("(a or b) and c", "((a or b) and c)"),
            (
                "a + 2 * b ^ 2 ^ c - 1",
                "(Subtract (Add a (Multiply 2 (Power b (Power 2 c)))) 1)",
            ),
            (
                "-a * 2 >= b % 3",
                "(GreaterOrEqual (Multiply -a 2) (Remainder b 3))",
            ),
            ("a / b / c", "(Divide (Divide a b) c)"),
            ("not a = 1", "!(Equal a 1)"),
            ("not not a", "a"),
            ("a like /x\\/y/ and b", "((a ~ x/y) and b)"),
            ("a =~ \"x\"", "(a like x)"),
            ("a not like 'x'", "!(a like x)"),
            (
                "status in [404, \"x\"] or a not in []",
                "((status in 404 'x') or !(a in ))",
            ),
            ("strlen(trim(a)) > 3", "(Greater TextLength[Trim[a]] 3)"),
            ("bin(5m)", "Bin[Milliseconds(300000)]"),
            (
                "datefloor(@timestamp, 1mo)",
                "DateFloor[@timestamp Months(1)]",
            ),
            ("count(*) + sum(a)", "(Add Count[] Sum[a])"),
            ("`or`", "or"),
            ("a.b[0] in [1]", "(a.b[Index(0)] in 1)"),
            ("m.`x.y`.z + 1", "(Add m[Name(\"x.y\"), Name(\"z\")] 1)"),
            ("now() - 60", "(Subtract 7 60)"),
        ] {
            let mut lexer = Lexer::new(text, Timestamp(7_999)).expect(text);
            let expr = lexer.aggregate().expect(text);
            assert_eq!(shape(&expr), expected, "{text}");
            assert_eq!(*lexer.peek(), Token::End, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "a +",
            "(a",
            "a not b",
            "a in b",
            "a like b",
            "sum(*)",
            "avg(count(a))",
            "bin(a)",
            "floor(5m)",
            "a = ",
            "a in [1 2]",
            "count(a",
            "a =~ /x",
            "a[b]",
            "a[1.5]",
            "a[0",
            "a[0].",
            "now(1)",
            "now(*)",
        ] {
            let mut lexer = Lexer::new(text, Timestamp(7_999)).expect(text);
            assert!(lexer.aggregate().is_err(), "{text}");
        }
        let deep = format!("{}a{}", "(".repeat(200), ")".repeat(200));
        assert!(
            Lexer::new(&deep, Timestamp(0))
                .and_then(|mut it| it.aggregate())
                .is_err()
        );
        let long = format!("a{}", " + a".repeat(301));
        assert!(
            Lexer::new(&long, Timestamp(0))
                .and_then(|mut it| it.aggregate())
                .is_err()
        );
        let deep = format!("{}a", "-".repeat(200));
        assert!(
            Lexer::new(&deep, Timestamp(0))
                .and_then(|mut it| it.aggregate())
                .is_err()
        );
        assert!(
            Lexer::new("sum(a)", Timestamp(0))
                .and_then(|mut it| it.scalar())
                .is_err()
        );
    }
}
