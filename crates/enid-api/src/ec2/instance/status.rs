//! DescribeInstanceStatus.
//!
//! An instance runs when its host has seen its sandbox run with all its interfaces up. From then on its
//! host checks it: what it does for it, which is the system's status, and what the instance does itself.

use enid_control::InstanceState;
use enid_model::instance::Instance;
use enid_model::time::Timestamp;

use super::describe::candidates;
use super::filter::{Field as InstanceField, Subject};
use super::state;
use crate::context::Context;
use crate::ec2::Ec2;
use crate::ec2::filter::Filters;
use crate::ec2::network_interface::describe::View;
use crate::ec2::page::{Page, USUAL};
use crate::error::ApiError;
use crate::generated::ec2::request::DescribeInstanceStatusRequest;
use crate::generated::ec2::response::{
    DescribeInstanceStatusResponse, InstanceStatus, InstanceStatusDetails, InstanceStatusSummary,
};
use crate::wire::text::Text;

/// What statuses can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    Instance(InstanceField),
    Lacking,
    Reachability(Check),
    Status(Check),
}

/// The two checks of an instance.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Check {
    Instance,
    System,
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "availability-zone"
            | "availability-zone-id"
            | "instance-state-code"
            | "instance-state-name" => Self::Instance(InstanceField::named(name)?),
            "instance-status.reachability" => Self::Reachability(Check::Instance),
            "instance-status.status" => Self::Status(Check::Instance),
            "system-status.reachability" => Self::Reachability(Check::System),
            "system-status.status" => Self::Status(Check::System),
            "attached-ebs-status.status"
            | "event.code"
            | "event.description"
            | "event.instance-event-id"
            | "event.not-after"
            | "event.not-before"
            | "event.not-before-deadline" => Self::Lacking,
            _ => return None,
        })
    }
}

/// DescribeInstanceStatus: of running instances, or of all.
pub(in crate::ec2) async fn describe_instance_status(
    ec2: &Ec2,
    context: &Context,
    request: DescribeInstanceStatusRequest,
) -> Result<DescribeInstanceStatusResponse, ApiError> {
    let filters = Filters::compile(&request.filters, Field::named)?;
    let ids = &request.instance_ids;
    let page = Page::read(
        "DescribeInstanceStatus",
        USUAL,
        request.max_results,
        request.next_token.as_deref(),
        (!ids.is_empty()).then_some("instanceIds"),
    )?;
    let all = request.include_all_instances.unwrap_or(false);
    let region = ec2.control.see(&context.caller()).await?;
    let view = View::new(context, &region);
    let subjects = candidates(ec2, &region, ids, page.after()?)?;
    let subjects = subjects.into_iter().map(|instance| Subject {
        view: &view,
        instance,
        state: ec2.control.instance_state(instance),
    });
    let failed = |subject: &Subject<'_>, check| {
        let checks = ec2.control.store().hosts().checks(subject.instance.id);
        match check {
            Check::Instance => checks.instance_failed,
            Check::System => checks.system_failed,
        }
    };
    let matching = subjects.filter(|subject| {
        let running = subject.state == InstanceState::Running;
        (all || running)
            && filters.match_resource(&subject.instance.tags, |field, test| match field {
                Field::Instance(field) => subject.test(field, test),
                Field::Lacking => {}
                Field::Reachability(check) if running => {
                    test.text(reachability(failed(subject, check)));
                }
                Field::Reachability(_) => {}
                Field::Status(check) => test.text(status(subject.state, failed(subject, check))),
            })
    });
    let (subjects, next_token) = page.take(matching, |subject| subject.instance.id.to_string());
    Ok(DescribeInstanceStatusResponse {
        instance_statuses: subjects
            .iter()
            .map(|subject| answer(subject, |check| failed(subject, check)))
            .collect(),
        next_token,
    })
}

fn answer(subject: &Subject<'_>, failed: impl Fn(Check) -> Option<Timestamp>) -> InstanceStatus {
    let instance: &Instance = subject.instance;
    let summary = |check| Some(summary(subject.state, failed(check)));
    InstanceStatus {
        availability_zone: Some(instance.zone.as_str().into()),
        availability_zone_id: subject.zone_id(),
        events: Vec::new(),
        instance_id: Some(Text::display(instance.id)),
        instance_state: Some(state(subject.state)),
        instance_status: summary(Check::Instance),
        system_status: summary(Check::System),
    }
}

fn summary(state: InstanceState, failed: Option<Timestamp>) -> InstanceStatusSummary {
    let reachability = InstanceStatusDetails {
        impaired_since: failed,
        name: Some("reachability".into()),
        status: Some(reachability(failed).into()),
    };
    let running = state == InstanceState::Running;
    InstanceStatusSummary {
        details: running.then_some(reachability).into_iter().collect(),
        status: Some(status(state, failed).into()),
    }
}

fn status(state: InstanceState, failed: Option<Timestamp>) -> &'static str {
    match state {
        InstanceState::Running if failed.is_some() => "impaired",
        InstanceState::Running => "ok",
        InstanceState::Pending => "initializing",
        _ => "not-applicable",
    }
}

fn reachability(failed: Option<Timestamp>) -> &'static str {
    match failed {
        Some(_) => "failed",
        None => "passed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_impairs_what_runs() {
        let running = InstanceState::Running;
        assert_eq!(status(running, None), "ok");
        let well = summary(running, None);
        assert_eq!(well.details[0].impaired_since, None);
        assert_eq!(well.details[0].status, Some("passed".into()));
        let ill = summary(running, Some(Timestamp(7)));
        assert_eq!(ill.status, Some("impaired".into()));
        assert_eq!(ill.details[0].impaired_since, Some(Timestamp(7)));
        assert_eq!(ill.details[0].status, Some("failed".into()));
        // Of what does not run nothing is said.
        let stopped = summary(InstanceState::Stopped, Some(Timestamp(7)));
        assert_eq!(stopped.status, Some("not-applicable".into()));
        assert!(stopped.details.is_empty());
    }
}
