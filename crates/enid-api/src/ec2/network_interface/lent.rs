//! Interfaces of other accounts that an account may attach, or has attached: it sees them beside its own,
//! as their owners have them, without their tags.

use std::collections::BTreeMap;

use enid_model::id::{EniId, InstanceId};
use enid_model::network_interface::NetworkInterface;
use enid_model::state::{Lent, Stored};

use super::candidates::candidates;
use super::describe::{Field, View, answer};
use crate::ec2::filter::Filters;
use crate::ec2::id;
use crate::ec2::page::Page;
use crate::error::ApiError;
use crate::generated::ec2::response;
use crate::wire::text::Text;

impl<'a> View<'a> {
    /// The interfaces of other accounts that may be attached here or are, by id; each as its owner has it.
    pub(super) fn lent(&self) -> BTreeMap<EniId, (Self, &'a Stored<NetworkInterface>)> {
        let seen = self.seen;
        let lent = seen.region.lent_interfaces.values();
        let lent = lent.filter_map(|lent| seen.state.lent(&seen.scope, lent));
        lent.map(|lent| (lent.eni.id, (self.of_lent(lent), lent.eni)))
            .collect()
    }

    /// Those that an instance has.
    pub(in crate::ec2) fn lent_to(
        &self,
        instance: InstanceId,
    ) -> Vec<(Self, &'a Stored<NetworkInterface>)> {
        let seen = self.seen;
        if seen.region.lent_interfaces.is_empty() {
            return Vec::new();
        }
        let lent = seen.state.lent_to(&seen.scope, instance).into_iter();
        lent.map(|lent| (self.of_lent(lent), lent.eni)).collect()
    }

    /// An interface by its id, with the view of the region that it is in.
    pub(super) fn eni(&self, id: EniId) -> Option<(Self, &'a Stored<NetworkInterface>)> {
        if let Some(own) = self.region.network_interfaces.get(&id) {
            return Some((self.clone(), own));
        }
        let lent = self.seen.region.lent_interfaces.get(&id)?;
        let lent = self.seen.state.lent(&self.seen.scope, lent)?;
        Some((self.of_lent(lent), lent.eni))
    }

    fn of_lent(&self, lent: Lent<'a>) -> Self {
        Self {
            region: lent.region,
            account: Text::display(lent.scope.account),
            owner: lent.scope.account,
            ..self.clone()
        }
    }
}

/// The descriptions of one's own interfaces and of lent ones, by id: those that are named, or those that
/// the filters leave, of one page.
pub(super) fn described(
    view: &View<'_>,
    filters: &Filters<Field>,
    page: &Page,
    ids: Option<&[String]>,
) -> Result<(Vec<response::NetworkInterface>, Option<Text>), ApiError> {
    let region = view.region;
    let lent = view.lent();
    let after: Option<EniId> = page.after()?;
    let mut known = region.network_interfaces.clone();
    known.extend(lent.iter().map(|(id, (_, eni))| (*id, (*eni).clone())));
    let mut own: Box<dyn Iterator<Item = &Stored<NetworkInterface>>> = match ids {
        Some(ids) => Box::new(id::find(ids, &known)?.into_values()),
        None => candidates(region, filters, after),
    };
    let others = lent.values().map(|(_, eni)| *eni);
    let mut others = others
        .filter(|eni| ids.is_none() && after.is_none_or(|after| eni.id > after))
        .peekable();
    let (mut next, mut own) = (own.next(), own);
    // Both are in order: the lesser one comes first.
    let merged = std::iter::from_fn(|| {
        let is_others = match (&next, others.peek()) {
            (Some(own), Some(other)) => other.id < own.id,
            (own, other) => own.is_none() && other.is_some(),
        };
        if is_others {
            return others.next();
        }
        let first = next;
        next = own.next();
        first
    });
    let seen = merged.map(|eni| (lent.get(&eni.id).map_or(view, |(view, _)| view), eni));
    let seen = seen.filter(|(view, eni)| view.matches(filters, eni));
    let (enis, next_token) = page.take(seen, |(_, eni)| eni.id.to_string());
    let enis = enis.into_iter().map(|(view, eni)| answer(view, eni));
    Ok((enis.collect(), next_token))
}
