//! Dashboards of CloudWatch. Whether a body is one is judged by who knows its shape; what comes here is
//! kept as it is.

use std::sync::Arc;

use enid_model::dashboard::Dashboard;
use enid_model::key::Kind;
use enid_model::record::Record;
use enid_model::region::Region;
use enid_model::state::{RegionState, Stored};

use crate::{Caller, Control, DashboardError, Error};

/// Dashboards of an account. AWS has no limit; this is one of memory.
const DASHBOARDS_MAX: usize = 1_000;
/// Characters of a name.
const NAME_MAX: usize = 255;

impl Control {
    /// PutDashboard: makes a dashboard or replaces it.
    pub async fn put_dashboard(
        &self,
        caller: &Caller,
        name: &str,
        body: &str,
    ) -> Result<(), Error> {
        check_name(name)?;
        let record = || {
            Record::Dashboard(Dashboard {
                body: body.to_owned(),
                modified: self.now(),
            })
        };
        self.transact(&at_home(caller), |draft| {
            let dashboards = &draft.region.dashboards;
            match dashboards.get(name).map(|known| known.revision) {
                Some(revision) => draft.replace(name, revision, record()),
                None if dashboards.len() >= DASHBOARDS_MAX => {
                    return Err(DashboardError::TooMany.into());
                }
                None => draft.claim(name, record()),
            }
            Ok(())
        })
        .await
    }

    /// GetDashboard.
    pub async fn dashboard(&self, caller: &Caller, name: &str) -> Result<Stored<Dashboard>, Error> {
        let region = self.dashboards(caller).await?;
        let found = region.dashboards.get(name).cloned();
        found.ok_or_else(|| not_found(&[name.to_owned()]))
    }

    /// The state that has the account's dashboards.
    pub async fn dashboards(&self, caller: &Caller) -> Result<Arc<RegionState>, Error> {
        self.read(&at_home(caller)).await
    }

    /// DeleteDashboards: those that are there, also if others are not.
    pub async fn delete_dashboards(&self, caller: &Caller, names: &[String]) -> Result<(), Error> {
        let missing = self
            .transact(&at_home(caller), |draft| {
                let mut missing = Vec::new();
                for name in names {
                    match draft.region.dashboards.get(&**name).map(|it| it.revision) {
                        Some(revision) => draft.release(Kind::Dashboard, &**name, revision),
                        None => missing.push(name.clone()),
                    }
                }
                Ok(missing)
            })
            .await?;
        match missing.is_empty() {
            true => Ok(()),
            false => Err(not_found(&missing)),
        }
    }
}

/// What names a dashboard everywhere.
#[must_use]
pub fn dashboard_arn(caller: &Caller, name: &str) -> String {
    let (partition, account) = (caller.region.partition(), caller.account);
    format!("arn:{partition}:cloudwatch::{account}:dashboard/{name}")
}

/// The same caller where the dashboards are.
fn at_home(caller: &Caller) -> Caller {
    let home = Region::named(Dashboard::home(caller.region.partition()));
    let mut caller = caller.clone();
    caller.region = home.unwrap_or(caller.region);
    caller
}

fn not_found(names: &[String]) -> Error {
    let names = names.join(", ").into();
    DashboardError::NotFound { names }.into()
}

fn check_name(name: &str) -> Result<(), DashboardError> {
    let is_permitted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match name.len() {
        1..=NAME_MAX if name.chars().all(is_permitted) => Ok(()),
        1..=NAME_MAX => Err(DashboardError::NameCharacters),
        _ => Err(DashboardError::NameLength),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control};

    #[tokio::test]
    async fn an_account_has_its_dashboards_in_all_regions() {
        let (control, here) = (control(), caller());
        let mut there = here.clone();
        there.region = Region::named("eu-central-1").unwrap();
        control.put_dashboard(&there, "one", "{}").await.unwrap();
        control.put_dashboard(&here, "two", "{ }").await.unwrap();
        control.put_dashboard(&here, "one", "[]").await.unwrap();
        let one = control.dashboard(&there, "one").await.unwrap();
        assert_eq!(one.body, "[]");
        let names = async || {
            let region = control.dashboards(&there).await.unwrap();
            let names = region.dashboards.keys().map(|name| name.to_string());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names().await, ["one", "two"]);
        let gone = ["one".to_owned(), "none".to_owned()];
        let error = control.delete_dashboards(&here, &gone).await.unwrap_err();
        assert_eq!(error.code(), "ResourceNotFound");
        assert_eq!(error.to_string(), "Dashboard none does not exist");
        assert_eq!(names().await, ["two"]);
        let error = control.dashboard(&here, "one").await.unwrap_err();
        assert_eq!(error.code(), "ResourceNotFound");
        assert!(dashboard_arn(&here, "two").ends_with(":dashboard/two"));
    }

    #[tokio::test]
    async fn a_name_is_of_letters_digits_and_dashes() {
        let (control, caller) = (control(), caller());
        let long = "n".repeat(256);
        for name in ["", "a b", "a.b", "é", &long] {
            let put = control.put_dashboard(&caller, name, "{}").await;
            assert_eq!(put.unwrap_err().code(), "InvalidParameterInput", "{name}");
        }
        let put = control.put_dashboard(&caller, &long[1..], "{}").await;
        put.unwrap();
    }
}
