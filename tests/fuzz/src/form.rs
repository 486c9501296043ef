//! Forms, and the requests in them.

use enid_api::generated::{ec2, sts};
use enid_api::wire::form::parse_form;
use enid_api::wire::input::Input;
use enid_api::wire::words::Words;

/// What is read is what another reader of forms reads; a second time, it is read alike.
pub fn form(data: &[u8]) {
    let Ok(mut form) = parse_form(data) else {
        return;
    };
    assert_eq!(parse_form(data).ok().as_ref(), Some(&form));
    for (name, value) in form_urlencoded::parse(data) {
        assert_eq!(form.take(&name), Some(value), "{name}");
    }
    assert!(!form.params().has_members(), "more than was sent");
}

/// A form is a request of its `Action` or an error that a client can read.
pub fn request(data: &[u8]) {
    let Ok(mut form) = parse_form(data) else {
        return;
    };
    let action = form.take("Action").unwrap_or_default();
    form.take("Version");
    let params = form.params();
    let error = match (
        ec2::operations::Request::parse(&action, params),
        sts::operations::Request::parse(&action, Input::form(params, Words::Query)),
    ) {
        (Ok(request), _) => return assert_eq!(request.operation(), action),
        (_, Ok(request)) => return assert_eq!(request.operation(), action),
        (Err(error), Err(_)) => error,
    };
    assert_eq!(error.status(), 400, "{error}");
    assert!(!error.code().is_empty() && !error.message().is_empty());
}
