//! What an expression is worth for a row.

use std::net::IpAddr;

use super::function::Function;
use super::plan::{Arithmetic, Comparison, Expr, Likeness, Period};
use super::row::Row;
use super::value::{Value, whole};

impl Expr {
    /// The value for a row. Aggregates are of sets of rows, and have none here.
    pub(super) fn value(&self, row: &Row) -> Value {
        match self {
            Self::Access(of, keys) => of.value(row).within(keys.iter()),
            Self::Aggregate(..) | Self::Period(_) => Value::Missing,
            Self::And(one, other) => {
                Value::truth(one.value(row).is_true() && other.value(row).is_true())
            }
            Self::Arithmetic(operation, one, other) => {
                reckon(*operation, &one.value(row), &other.value(row))
            }
            Self::Call(function, arguments) => call(*function, arguments, row),
            Self::Compare(comparison, one, other) => {
                let values = (one.value(row), other.value(row));
                Value::truth(holds(*comparison, &values.0, &values.1))
            }
            Self::Field(name) => row.field(name),
            Self::In(one, others) => {
                let one = one.value(row);
                let is_equal = |other: &Self| holds(Comparison::Equal, &one, &other.value(row));
                Value::truth(others.iter().any(is_equal))
            }
            Self::Like(text, likeness) => {
                let text = text.value(row).text();
                Value::truth(text.is_some_and(|text| match likeness {
                    Likeness::Regex(regex) => regex.is_match(&text),
                    Likeness::Text(part) => text.contains(&**part),
                }))
            }
            Self::Negative(of) => number(of.value(row).number().map(|number| -number)),
            Self::Not(of) => Value::truth(!of.value(row).is_true()),
            Self::Number(number) => Value::Number(*number),
            Self::Or(one, other) => {
                Value::truth(one.value(row).is_true() || other.value(row).is_true())
            }
            Self::Text(text) => Value::Text(text.clone()),
        }
    }
}

/// A comparison with what is missing does not hold, but that two are not equal does.
fn holds(comparison: Comparison, one: &Value, other: &Value) -> bool {
    let order = one.compare(other);
    match comparison {
        Comparison::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
        Comparison::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Comparison::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        Comparison::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Comparison::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Comparison::NotEqual => order.is_none_or(std::cmp::Ordering::is_ne),
    }
}

/// The outcome of an operation with two numbers; none if one is missing or it has none.
pub(super) fn reckon(operation: Arithmetic, one: &Value, other: &Value) -> Value {
    let (Some(one), Some(other)) = (one.number(), other.number()) else {
        return Value::Missing;
    };
    let outcome = match operation {
        Arithmetic::Add => one + other,
        Arithmetic::Divide => one / other,
        Arithmetic::Multiply => one * other,
        Arithmetic::Power => one.powf(other),
        Arithmetic::Remainder => one % other,
        Arithmetic::Subtract => one - other,
    };
    number(Some(outcome))
}

fn number(number: Option<f64>) -> Value {
    let number = number.filter(|number| number.is_finite());
    number.map_or(Value::Missing, Value::Number)
}

fn text(text: Option<String>) -> Value {
    text.map_or(Value::Missing, Value::Text)
}

fn call(function: Function, arguments: &[Expr], row: &Row) -> Value {
    let argument = |at: usize| {
        let argument = arguments.get(at);
        argument.map_or(Value::Missing, |argument| argument.value(row))
    };
    let texts = || argument(0).text();
    let of_number = |reckon: fn(f64) -> f64| number(argument(0).number().map(reckon));
    let all = || arguments.iter().map(|argument| argument.value(row));
    let best = |is_better: fn(f64, f64) -> f64| {
        number(all().filter_map(|it| it.number()).reduce(is_better))
    };
    let address = |at: usize| argument(at).text().and_then(|it| it.parse::<IpAddr>().ok());
    let is_valid = |fits: fn(IpAddr) -> bool| Value::truth(address(0).is_some_and(fits));
    let is_in = |fits: fn(IpAddr) -> bool| {
        let subnet = argument(1).text();
        let subnet = subnet.as_deref().and_then(subnet_of);
        let both = address(0).filter(|it| fits(*it)).zip(subnet);
        Value::truth(both.is_some_and(|(address, subnet)| contains(subnet, address)))
    };
    match function {
        Function::Absolute => of_number(f64::abs),
        Function::Bin => round(&row.field("@timestamp"), arguments.first(), false),
        Function::Ceiling => of_number(f64::ceil),
        Function::Coalesce => all().find(Value::is_present).unwrap_or(Value::Missing),
        Function::Concat => Value::Text(all().filter_map(|it| it.text()).collect()),
        Function::DateCeiling => round(&argument(0), arguments.get(1), true),
        Function::DateFloor => round(&argument(0), arguments.get(1), false),
        Function::Floor => of_number(f64::floor),
        Function::FromMillis => argument(0).millis().map_or(Value::Missing, Value::Time),
        Function::Greatest => best(f64::max),
        Function::IsBlank => Value::truth(texts().is_none_or(|it| it.trim().is_empty())),
        Function::IsEmpty => Value::truth(texts().is_none_or(|it| it.is_empty())),
        Function::IsIpInSubnet => is_in(|_| true),
        Function::IsIpv4InSubnet => is_in(|it| it.is_ipv4()),
        Function::IsIpv6InSubnet => is_in(|it| it.is_ipv6()),
        Function::IsPresent => Value::truth(argument(0).is_present()),
        Function::IsValidIp => is_valid(|_| true),
        Function::IsValidIpv4 => is_valid(|it| it.is_ipv4()),
        Function::IsValidIpv6 => is_valid(|it| it.is_ipv6()),
        Function::JsonParse => texts().map_or(Value::Missing, |it| Value::structure(&it)),
        Function::JsonStringify => match argument(0) {
            structure @ Value::Structure(_) => text(structure.text()),
            _ => Value::Missing,
        },
        Function::Least => best(f64::min),
        Function::Logarithm => of_number(f64::ln),
        Function::Lower => text(texts().map(|it| it.to_lowercase())),
        // The parser has put the time in its place.
        Function::Now => Value::Missing,
        Function::Replace => {
            let parts = argument(1).text().zip(argument(2).text());
            let both = texts().zip(parts);
            text(both.map(|(it, (from, to))| it.replace(&from, &to)))
        }
        Function::SquareRoot => of_number(f64::sqrt),
        Function::Substring => text(texts().and_then(|it| {
            let count = |at: usize| argument(at).number().map(whole);
            let start = usize::try_from(count(1)?).ok()?;
            let length = match arguments.get(2) {
                Some(_) => usize::try_from(count(2)?).ok()?,
                None => usize::MAX,
            };
            Some(it.chars().skip(start).take(length).collect())
        })),
        Function::TextContains => {
            let both = texts().zip(argument(1).text());
            Value::truth(both.is_some_and(|(it, part)| it.contains(&part)))
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a message is below 2^53 characters"
        )]
        Function::TextLength => number(texts().map(|it| it.chars().count() as f64)),
        #[expect(clippy::cast_precision_loss, reason = "milliseconds stay below 2^53")]
        Function::ToMillis => number(argument(0).millis().map(|ms| ms as f64)),
        Function::Trim | Function::TrimLeft | Function::TrimRight => {
            let characters = argument(1).text();
            let goes = |it: char| match &characters {
                Some(characters) => characters.contains(it),
                None => it.is_whitespace(),
            };
            text(texts().map(|it| match function {
                Function::TrimLeft => it.trim_start_matches(goes).to_owned(),
                Function::TrimRight => it.trim_end_matches(goes).to_owned(),
                _ => it.trim_matches(goes).to_owned(),
            }))
        }
        Function::Upper => text(texts().map(|it| it.to_uppercase())),
    }
}

/// A time rounded down to a period, or up.
fn round(time: &Value, period: Option<&Expr>, is_up: bool) -> Value {
    let (Some(ms), Some(Expr::Period(period))) = (time.millis(), period) else {
        return Value::Missing;
    };
    let floor = period.floor(ms);
    Value::Time(match is_up && floor < ms {
        true => period.next(floor),
        false => floor,
    })
}

impl Period {
    /// The start of the period that a time is in.
    fn floor(self, ms: i64) -> i64 {
        match self {
            Self::Milliseconds(length) => ms - ms.rem_euclid(length),
            Self::Months(length) => {
                let (year, month, ..) = enid_model::time::Timestamp(ms).civil();
                let months = year * 12 + i64::from(month) - 1;
                start_of_month(months - months.rem_euclid(length))
            }
        }
    }

    /// The start of the period after the one that starts then.
    fn next(self, start: i64) -> i64 {
        match self {
            Self::Milliseconds(length) => start.saturating_add(length),
            Self::Months(length) => {
                let (year, month, ..) = enid_model::time::Timestamp(start).civil();
                start_of_month(year * 12 + i64::from(month) - 1 + length)
            }
        }
    }
}

/// When a month begins, of those since the year 0, in milliseconds.
fn start_of_month(months: i64) -> i64 {
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
    // http://howardhinnant.github.io/date_algorithms.html#days_from_civil
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era - 719_468) * 86_400_000
}

fn subnet_of(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length = length.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (length <= most).then_some((address, length))
}

fn contains((network, length): (IpAddr, u32), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differ = network.to_bits() ^ address.to_bits();
            differ.checked_shr(32 - length).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differ = network.to_bits() ^ address.to_bits();
            differ.checked_shr(128 - length).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use enid_model::time::Timestamp;

    use super::super::expression::Expressions as _;
    use super::super::lexer::Lexer;
    use super::super::row::tests::source;
    use super::*;

    #[test]
    fn expressions_are_worth_what_they_say() {
        let message = r#"{"a": 7, "b": "x Y ", "ip": "10.0.1.9", "six": "fd00::9"}"#;
        // 2026-01-02T03:04:05.006Z.
        let row = Row::of(source(1_767_323_045_006, message));
        for (text, shown) in [
            ("a + 2 * 3", "13"),
            ("a / 0", ""),
            ("a % 4 ^ 2", "7"),
            ("-a", "-7"),
            ("missing + 1", ""),
            ("a = 7 and b like \"Y\"", "1"),
            ("a = 7 and not b like /y/", "1"),
            ("missing = 7 or a in [1, 7]", "1"),
            ("missing != 7", "1"),
            ("missing < 7", "0"),
            ("abs(-3) + ceil(1.2) + floor(1.8)", "6"),
            ("greatest(1, a, 3)", "7"),
            ("least(a, 2)", "2"),
            ("sqrt(9)", "3"),
            ("log(1)", "0"),
            ("coalesce(missing, b)", "x Y "),
            ("concat(a, \"-\", b)", "7-x Y "),
            ("strlen(b)", "4"),
            ("toupper(trim(b))", "X Y"),
            ("ltrim(\"xxaxx\", \"x\")", "axx"),
            ("rtrim(\"xxaxx\", \"x\")", "xxa"),
            ("tolower(b)", "x y "),
            ("substr(\"héllo\", 1)", "éllo"),
            ("substr(\"héllo\", 1, 2)", "él"),
            ("replace(b, \"x\", \"z\")", "z Y "),
            ("strcontains(b, \"Y\")", "1"),
            ("isempty(missing)", "1"),
            ("isblank(\"  \")", "1"),
            ("ispresent(a)", "1"),
            ("isValidIp(ip)", "1"),
            ("isValidIpV6(ip)", "0"),
            ("isIpInSubnet(ip, \"10.0.0.0/16\")", "1"),
            ("isIpv4InSubnet(ip, \"10.0.2.0/24\")", "0"),
            ("isIpv4InSubnet(ip, \"0.0.0.0/0\")", "1"),
            ("isIpv6InSubnet(six, \"fd00::/8\")", "1"),
            ("isIpv4InSubnet(six, \"fd00::/8\")", "0"),
            ("bin(5m)", "2026-01-02 03:00:00.000"),
            ("bin(1d)", "2026-01-02 00:00:00.000"),
            ("bin(1mo)", "2026-01-01 00:00:00.000"),
            ("dateceil(@timestamp, 1h)", "2026-01-02 04:00:00.000"),
            ("dateceil(@timestamp, 1q)", "2026-04-01 00:00:00.000"),
            ("datefloor(@timestamp, 1y)", "2026-01-01 00:00:00.000"),
            ("toMillis(@timestamp)", "1767323045006"),
            ("fromMillis(0)", "1970-01-01 00:00:00.000"),
            ("@timestamp > 1767323045000", "1"),
            ("now() - 1", "1767323999"),
            ("toMillis(@timestamp) / 1000 < now()", "1"),
            ("jsonParse(@message).a", "7"),
            ("jsonParse(\"[1, [2, {\\\"x.y\\\": 3}]]\")[1][1].`x.y`", "3"),
            ("jsonParse(\"[1, 2]\")[2]", ""),
            ("jsonParse(\"[1, 2]\").a", ""),
            ("jsonParse(\"7\")", ""),
            ("jsonParse(\"{broken\")", ""),
            ("jsonParse(\"{\\\"n\\\": [1, null]}\")", "{\"n\":[1,null]}"),
            ("jsonStringify(jsonParse(\"[ 1 ]\"))", "[1]"),
            ("strlen(jsonStringify(jsonParse(\"[ 1 ]\")))", "3"),
            ("jsonStringify(a)", ""),
            ("ispresent(jsonParse(@message)) + ispresent(a.b)", "1"),
        ] {
            let lexer = Lexer::new(text, Timestamp(1_767_324_000_999));
            let expr = lexer.and_then(|mut it| it.scalar()).expect(text);
            assert_eq!(expr.value(&row).to_string(), shown, "{text}");
        }
    }
}
