//! The one place where parameters are refused.
//!
//! Code generation makes a table of every member of every supported operation, the refused ones
//! included. A request is held against its table before anything reads it, so that no parameter is
//! ever ignored.

use super::params::{Params, Read, index};
use crate::error::ApiError;

/// The members of a structure, by wire name.
#[derive(Debug)]
pub struct Shape {
    members: &'static [Member],
}

/// One member of a structure.
#[derive(Debug)]
pub struct Member {
    name: &'static str,
    /// `None`: AWS has the member, Enid does not.
    kind: Option<Kind>,
    required: bool,
    /// The values that Enid implements; empty for any.
    only: &'static [&'static str],
    /// The values that AWS permits; empty if it does not list them.
    of: &'static [&'static str],
}

/// What a member holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A single value, of a type that its reader knows.
    Scalar,
    /// A single value of this type.
    Of(Scalar),
    /// Values by names that the client chooses.
    Map(&'static Self),
    /// Members of its own.
    Structure(&'static Shape),
    /// `Name.N`.
    List(&'static Self),
    /// `Name.member.N`, with the word that stands for `member`.
    MemberList(&'static str, &'static Self),
}

/// The types of single values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// Bytes.
    Blob,
    /// `true` or `false`.
    Boolean,
    /// 32 bits.
    Integer,
    /// 64 bits.
    Long,
    /// A double.
    Number,
    /// A string.
    Text,
    /// A point in time.
    Timestamp,
}

impl Shape {
    /// A structure with these members, sorted by name.
    #[must_use]
    pub const fn new(members: &'static [Member]) -> Self {
        Self { members }
    }

    /// The member of this name, if AWS has it.
    pub(super) fn member(&self, name: &str) -> Option<&'static Member> {
        let found = self
            .members
            .binary_search_by(|member| member.name.cmp(name));
        found.ok().and_then(|at| self.members.get(at))
    }

    /// The names of members that must be present.
    pub(super) fn required(&self) -> impl Iterator<Item = &'static str> {
        let required = self.members.iter().filter(|member| member.required);
        required.map(|member| member.name)
    }
}

impl Member {
    /// A member that Enid implements.
    #[must_use]
    pub const fn supported(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind: Some(kind),
            required: false,
            only: &[],
            of: &[],
        }
    }

    /// A member that Enid does not implement.
    #[must_use]
    pub const fn refused(name: &'static str) -> Self {
        Self {
            name,
            kind: None,
            required: false,
            only: &[],
            of: &[],
        }
    }

    /// The member must be present.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Enid implements only these values.
    #[must_use]
    pub const fn only(mut self, values: &'static [&'static str]) -> Self {
        self.only = values;
        self
    }

    /// AWS permits only these values.
    #[must_use]
    pub const fn of(mut self, values: &'static [&'static str]) -> Self {
        self.of = values;
        self
    }

    /// What it holds, if Enid implements it.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// The only values that Enid implements; empty for any.
    pub(super) fn only_values(&self) -> &'static [&'static str] {
        self.only
    }

    /// The only values that AWS permits; empty for any.
    pub(super) fn values(&self) -> &'static [&'static str] {
        self.of
    }
}

/// Holds a request against its table, then reads it.
pub fn read<T: Read>(
    operation: &'static str,
    shape: &'static Shape,
    params: Params<'_>,
) -> Result<T, ApiError> {
    structure(operation, shape, params)?;
    T::read(params)
}

fn structure(operation: &str, shape: &'static Shape, params: Params<'_>) -> Result<(), ApiError> {
    let mut seen = 0_usize;
    for (name, below) in params.members() {
        let Some(member) = shape.member(name) else {
            return Err(ApiError::unknown_parameter(below.first_name()));
        };
        let Some(kind) = member.kind else {
            return Err(ApiError::parameter_not_implemented(operation, below.path()));
        };
        value(operation, member, kind, below)?;
        seen += usize::from(member.required);
    }
    // Members are visited once each, so the counts agree unless one is missing.
    if seen
        < shape
            .members
            .iter()
            .filter(|member| member.required)
            .count()
    {
        let names: Vec<&str> = params.members().map(|(name, _)| name).collect();
        let missing = shape
            .members
            .iter()
            .find(|member| member.required && !names.contains(&member.name));
        if let Some(missing) = missing {
            return Err(ApiError::missing_parameter(&params.name_of(missing.name)));
        }
    }
    Ok(())
}

fn value(
    operation: &str,
    member: &'static Member,
    kind: Kind,
    params: Params<'_>,
) -> Result<(), ApiError> {
    let unknown = || Err(ApiError::unknown_parameter(params.path()));
    match kind {
        Kind::Scalar | Kind::Of(_) => match params.value() {
            Some(_) if params.has_members() => {
                Err(ApiError::unknown_parameter(params.first_name()))
            }
            Some(value) => permitted(operation, member, value, params),
            None => Err(ApiError::unknown_parameter(params.first_name())),
        },
        _ if params.value().is_some_and(|value| !empty_list(kind, value)) => unknown(),
        Kind::Structure(shape) => structure(operation, shape, params),
        // EC2 has none.
        Kind::Map(_) => unknown(),
        Kind::List(item) => items(operation, member, *item, params),
        Kind::MemberList(word, item) => {
            for (segment, below) in params.members() {
                if segment != word || below.value().is_some() {
                    return Err(ApiError::unknown_parameter(below.first_name()));
                }
                items(operation, member, *item, below)?;
            }
            Ok(())
        }
    }
}

/// Clients of the query protocol say that a list is empty by `Name=`.
fn empty_list(kind: Kind, value: &str) -> bool {
    matches!(kind, Kind::MemberList(..)) && value.is_empty()
}

fn items(
    operation: &str,
    member: &'static Member,
    kind: Kind,
    params: Params<'_>,
) -> Result<(), ApiError> {
    for (segment, below) in params.members() {
        if index(segment).is_none() {
            return Err(ApiError::unknown_parameter(below.first_name()));
        }
        value(operation, member, kind, below)?;
    }
    Ok(())
}

fn permitted(
    operation: &str,
    member: &Member,
    value: &str,
    params: Params<'_>,
) -> Result<(), ApiError> {
    if member.only.contains(&value) || (member.only.is_empty() && member.of.is_empty()) {
        return Ok(());
    }
    // AWS's own rule comes first: only what it permits can be what Enid lacks.
    if !member.of.is_empty() && !member.of.contains(&value) {
        return Err(ApiError::invalid_parameter_value(value, params.path(), ""));
    }
    if member.only.is_empty() {
        return Ok(());
    }
    Err(ApiError::value_not_implemented(
        operation,
        params.path(),
        value,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::form::parse_form;

    static INNER: Shape = Shape::new(&[
        Member::supported("Name", Kind::Scalar).required(),
        Member::refused("Prefix"),
        Member::supported("Value", Kind::List(&Kind::Scalar)),
    ]);
    static OUTER: Shape = Shape::new(&[
        Member::supported("Filter", Kind::List(&Kind::Structure(&INNER))),
        Member::supported("Id", Kind::Scalar).required(),
        Member::refused("Ipv6Pool"),
        Member::supported("Names", Kind::MemberList("member", &Kind::Scalar)),
        Member::supported("Tenancy", Kind::Scalar)
            .only(&["default"])
            .of(&["default", "host"]),
    ]);

    fn check(body: &str) -> String {
        let form = parse_form(body.as_bytes()).unwrap();
        match structure("Op", &OUTER, form.params()) {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{}: {}", error.code(), error.message()),
        }
    }

    #[test]
    fn supported_parameters_pass() {
        for body in [
            "Id=x",
            "Id=x&Filter.1.Name=a&Filter.1.Value.1=b&Filter.3.Name=c",
            "Id=&Tenancy=default",
            "Id=x&Names=",
            "Id=x&Names.member.1=a",
        ] {
            assert_eq!(check(body), "ok", "{body}");
        }
    }

    #[test]
    fn the_rest_is_refused_by_name() {
        for (body, wanted) in [
            (
                "Id=x&Ipv6Pool=y",
                "UnsupportedOperation: Enid does not implement the parameter Ipv6Pool of Op.",
            ),
            (
                "Id=x&Ipv6Pool.1.A=y",
                "UnsupportedOperation: Enid does not implement the parameter Ipv6Pool of Op.",
            ),
            (
                "Id=x&Filter.1.Name=a&Filter.1.Prefix=y",
                "UnsupportedOperation: Enid does not implement the parameter Filter.1.Prefix of Op.",
            ),
            (
                "Id=x&Tenancy=host",
                "UnsupportedOperation: Enid does not implement the value 'host' of the parameter Tenancy of Op.",
            ),
            (
                "Id=x&Tenancy=y",
                "InvalidParameterValue: Value (y) for parameter tenancy is invalid.",
            ),
            (
                "Id=x&Foo=y",
                "UnknownParameter: The parameter Foo is not recognized",
            ),
            (
                "Id=x&id=y",
                "UnknownParameter: The parameter id is not recognized",
            ),
            (
                "Id.1=x",
                "UnknownParameter: The parameter Id.1 is not recognized",
            ),
            (
                "Id=x&Id.1=y",
                "UnknownParameter: The parameter Id.1 is not recognized",
            ),
            (
                "Id=x&Filter=y",
                "UnknownParameter: The parameter Filter is not recognized",
            ),
            (
                "Id=x&Filter.Name=y",
                "UnknownParameter: The parameter Filter.Name is not recognized",
            ),
            (
                "Id=x&Filter.1=y",
                "UnknownParameter: The parameter Filter.1 is not recognized",
            ),
            (
                "Id=x&Filter.1.Name=a&Filter.1.Value=y",
                "UnknownParameter: The parameter Filter.1.Value is not recognized",
            ),
            (
                "Id=x&Names.1=y",
                "UnknownParameter: The parameter Names.1 is not recognized",
            ),
            (
                "Id=x&Names.member=y",
                "UnknownParameter: The parameter Names.member is not recognized",
            ),
            (
                "Id=x&.=y",
                "UnknownParameter: The parameter . is not recognized",
            ),
            (
                "Tenancy=default",
                "MissingParameter: The request must contain the parameter id",
            ),
            (
                "Id=x&Filter.1.Value.1=b",
                "MissingParameter: The request must contain the parameter filter.1.Name",
            ),
        ] {
            assert_eq!(check(body), wanted, "{body}");
        }
    }
}
