//! The AWS query protocol of services other than EC2: forms in, XML out.

use enid_model::time::Timestamp;

use super::answer::Sink;
use super::params::{Params, index, to_base64};
use super::schema::{Kind, Shape};
use super::value::Value;
use super::xml::Xml;

/// A form as a document. Only the table tells a list from a structure; what it does not have is kept
/// for the refusal.
#[must_use]
pub fn decode(shape: &'static Shape, params: Params<'_>) -> Value {
    let members = params.members().map(|(name, below)| {
        let kind = shape.member(name).and_then(|member| member.kind());
        let value = kind.map_or(Value::Null, |kind| value(kind, below));
        (name.to_owned(), value)
    });
    Value::Members(members.collect())
}

fn value(kind: Kind, params: Params<'_>) -> Value {
    let plain = |params: Params<'_>| match params.value() {
        Some(value) if !params.has_members() => Value::Plain(value.to_owned()),
        _ => Value::Members(Vec::new()),
    };
    match kind {
        Kind::Scalar | Kind::Of(_) => plain(params),
        _ if params.value().is_some_and(|value| !value.is_empty()) => plain(params),
        Kind::Structure(shape) => decode(shape, params),
        Kind::List(item) => items(*item, params).unwrap_or(Value::Null),
        // `Name=` says that a list is empty.
        Kind::MemberList(_, _) if !params.has_members() => Value::List(Vec::new()),
        Kind::MemberList(word, item) => {
            let mut members = params.members();
            match (members.next(), members.next()) {
                (Some((name, below)), None) if name == word => {
                    items(*item, below).unwrap_or_else(|| plain(params))
                }
                _ => plain(params),
            }
        }
        Kind::Map(of) => entries(*of, params).unwrap_or_else(|| Value::List(Vec::new())),
    }
}

/// `1`, `2` and so on, in the order of their numbers.
fn numbered<'a>(params: Params<'a>) -> Option<Vec<Params<'a>>> {
    let numbered = params
        .members()
        .map(|(segment, below)| index(segment).map(|number| (number, below)));
    let mut numbered: Vec<_> = numbered.collect::<Option<_>>()?;
    numbered.sort_by_key(|(number, _)| *number);
    Some(numbered.into_iter().map(|(_, below)| below).collect())
}

fn items(kind: Kind, params: Params<'_>) -> Option<Value> {
    let items = numbered(params)?.into_iter();
    Some(Value::List(items.map(|below| value(kind, below)).collect()))
}

/// `entry.N.key` and `entry.N.value`; the attributes of a message of SNS have `Name` and `Value`.
fn entries(kind: Kind, params: Params<'_>) -> Option<Value> {
    let mut entries = Vec::new();
    for (word, below) in params.members() {
        if word != "entry" {
            return None;
        }
        for entry in numbered(below)? {
            let mut key = None;
            let mut found = None;
            for (word, below) in entry.members() {
                match word {
                    "key" | "Name" => key = below.value().map(str::to_owned),
                    "value" | "Value" => found = Some(value(kind, below)),
                    _ => return None,
                }
            }
            entries.push((key?, found?));
        }
    }
    Some(Value::Members(entries))
}

/// An XML answer in the making, inside the element that is its result.
#[derive(Debug)]
pub struct Answer<'a> {
    xml: &'a mut Xml,
    /// What is open, outermost first.
    open: Vec<Open>,
    /// The name of the next value.
    name: String,
}

#[derive(Debug)]
enum Open {
    /// A structure; the element around it, which the result itself does not have.
    Structure(Option<String>),
    /// A list, with its element and the name of its items.
    List(String, &'static str),
    /// A map, with its element; whether an entry is open.
    Map(String, bool),
}

impl<'a> Answer<'a> {
    /// An answer at this place of a document.
    pub fn new(xml: &'a mut Xml) -> Self {
        Self {
            xml,
            open: Vec::new(),
            name: String::new(),
        }
    }

    /// The element of the next value; `None` for the result itself.
    fn element(&mut self) -> Option<String> {
        match self.open.last()? {
            Open::List(_, item) => Some((*item).to_owned()),
            Open::Structure(_) => Some(std::mem::take(&mut self.name)),
            Open::Map(..) => Some("value".to_owned()),
        }
    }

    fn scalar(&mut self, text: &str) {
        let element = self.element().unwrap_or_default();
        self.xml.leaf(&element, text);
    }

    fn opened(&mut self) -> String {
        let element = self.element().unwrap_or_default();
        self.xml.open(&element);
        element
    }
}

impl Sink for Answer<'_> {
    fn begin(&mut self) {
        let element = self.element();
        if let Some(element) = &element {
            self.xml.open(element);
        }
        self.open.push(Open::Structure(element));
    }

    fn end(&mut self) {
        if let Some(Open::Structure(Some(element))) = self.open.pop() {
            self.xml.close(&element);
        }
    }

    fn name(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    fn begin_list(&mut self, item: &'static str) {
        let element = self.opened();
        self.open.push(Open::List(element, item));
    }

    fn end_list(&mut self) {
        if let Some(Open::List(element, _)) = self.open.pop() {
            self.xml.close(&element);
        }
    }

    fn begin_map(&mut self) {
        let element = self.opened();
        self.open.push(Open::Map(element, false));
    }

    fn key(&mut self, key: &str) {
        if let Some(Open::Map(_, entry)) = self.open.last_mut() {
            if std::mem::replace(entry, true) {
                self.xml.close("entry");
            }
            self.xml.open("entry");
            self.xml.leaf("key", key);
        }
    }

    fn end_map(&mut self) {
        if let Some(Open::Map(element, entry)) = self.open.pop() {
            if entry {
                self.xml.close("entry");
            }
            self.xml.close(&element);
        }
    }

    fn text(&mut self, text: &str) {
        self.scalar(text);
    }

    fn boolean(&mut self, value: bool) {
        self.scalar(if value { "true" } else { "false" });
    }

    fn integer(&mut self, value: i64) {
        self.scalar(&value.to_string());
    }

    fn number(&mut self, value: f64) {
        self.scalar(&format!("{value:?}"));
    }

    fn time(&mut self, time: Timestamp) {
        self.scalar(&time.to_string());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.scalar(&to_base64(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::conform::conform;
    use crate::wire::form::parse_form;
    use crate::wire::schema::{Member, Scalar};
    use crate::wire::words::Words;

    static DIMENSION: Shape = Shape::new(&[
        Member::supported("Name", Kind::Of(Scalar::Text)).required(),
        Member::refused("Value"),
    ]);
    static OUTER: Shape = Shape::new(&[
        Member::supported(
            "Dimensions",
            Kind::MemberList("member", &Kind::Structure(&DIMENSION)),
        ),
        Member::supported("Names", Kind::MemberList("member", &Kind::Of(Scalar::Text))),
        Member::supported("Period", Kind::Of(Scalar::Integer)),
        Member::supported("Tags", Kind::Map(&Kind::Of(Scalar::Text))),
    ]);

    fn read(body: &str) -> String {
        let form = parse_form(body.as_bytes()).unwrap();
        let value = decode(&OUTER, form.params());
        match conform("Op", &OUTER, value, Words::Query) {
            Ok(value) => format!("{value:?}"),
            Err(error) => format!("{}: {}", error.code(), error.message()),
        }
    }

    #[test]
    fn forms_become_documents() {
        assert_eq!(
            read(
                "Period=60&Names=&Dimensions.member.10.Name=b&Dimensions.member.2.Name=a&Tags.entry.1.key=k&Tags.entry.1.value=v"
            ),
            "Members([(\"Dimensions\", List([Members([(\"Name\", Text(\"a\"))]), Members([(\"Name\", Text(\"b\"))])])), (\"Names\", List([])), (\"Period\", Integer(60)), (\"Tags\", Members([(\"k\", Text(\"v\"))]))])"
        );
    }

    #[test]
    fn the_rest_is_refused_by_name() {
        for (body, wanted) in [
            (
                "Foo=1",
                "UnknownParameter: The parameter Foo is not recognized",
            ),
            (
                "Dimensions.member.1.Value=x",
                "UnsupportedOperation: Enid does not implement the parameter Dimensions.member.1.Value of Op.",
            ),
            (
                "Names.1=x",
                "InvalidParameterValue: The value for parameter Names is invalid: expected a list.",
            ),
            (
                "Names=x",
                "InvalidParameterValue: The value for parameter Names is invalid: expected a list.",
            ),
            (
                "Period=x",
                "InvalidParameterValue: The value for parameter Period is invalid: expected an integer.",
            ),
            (
                "Period.1=1",
                "InvalidParameterValue: The value for parameter Period is invalid: expected an integer.",
            ),
            (
                "Tags.1=1",
                "InvalidParameterValue: The value for parameter Tags is invalid: expected a map.",
            ),
        ] {
            assert_eq!(read(body), wanted, "{body}");
        }
    }

    #[test]
    fn answers_are_written() {
        let mut xml = Xml::default();
        let mut answer = Answer::new(&mut xml);
        answer.begin();
        answer.name("A");
        answer.text("x<");
        answer.name("B");
        answer.begin_list("member");
        answer.begin();
        answer.name("C");
        answer.number(10.0);
        answer.end();
        answer.end_list();
        answer.name("D");
        answer.begin_map();
        answer.key("k");
        answer.integer(1);
        answer.key("l");
        answer.integer(2);
        answer.end_map();
        answer.name("E");
        answer.begin_list("member");
        answer.end_list();
        answer.end();
        assert_eq!(
            xml.finish(),
            "<A>x&lt;</A><B><member><C>10.0</C></member></B><D><entry><key>k</key><value>1</value></entry><entry><key>l</key><value>2</value></entry></D><E></E>"
        );
    }
}
