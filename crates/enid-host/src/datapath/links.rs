//! What ties the programs to the devices: pinned tcx links, or filters where the kernel has no tcx.
//!
//! One kind is put before the other is removed, should a daemon use the other kind than the one before
//! it: a device is never without. Filters go with their device; only links have to be forgotten.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use enid_model::id::EniId;
use enid_pipeline::table::{Outside, TAP};

use super::{Attach, Datapath, DatapathError, filters};
use crate::loader::{self, LINK_EGRESS, LINK_GUARD, LINK_TAP_EGRESS, LINK_TAP_GUARD, Pins};
use crate::maps::{self, Hook};
use crate::netlink::Netlink;

impl Datapath {
    /// Puts the programs on the host-side device of an ENI, or adopts them there. Links of an earlier
    /// layout go after that: the device is never without.
    pub fn attach(&mut self, eni: EniId, device: &str) -> Result<(), DatapathError> {
        let failed = |source| DatapathError::Device {
            name: device.to_owned(),
            source,
        };
        let mut netlink = Netlink::open().map_err(failed)?;
        let link = netlink.link(device).map_err(failed)?;
        let link = link.ok_or_else(|| DatapathError::NoDevice(device.to_owned()))?;
        self.attach_number(eni, link.number())
    }

    /// The same, by the device's number: its index in the present network namespace, with
    /// [`TAP`] if it is a tap.
    pub fn attach_number(&mut self, eni: EniId, number: u32) -> Result<(), DatapathError> {
        for place in places_of(number) {
            let name = format!("{eni}-{}", place.kind);
            self.tie(&name, self.program(place), place.hook, number & !TAP)?;
        }
        for layout in loader::other_layouts(self.installation)? {
            for place in PLACES {
                unpin(&link_path(&layout, eni, place.kind))?;
            }
            remove_if_unused(&layout)?;
        }
        Ok(())
    }

    /// Ties a program to a device, in place of what an earlier agent tied to it.
    pub(super) fn tie(
        &self,
        name: &str,
        program: BorrowedFd<'_>,
        hook: Hook,
        ifindex: u32,
    ) -> Result<(), DatapathError> {
        let path = self.pins.links().join(name);
        let name = filters::name(self.installation, name);
        match self.attach {
            Attach::Tcx => {
                attach_at(&path, program, hook, ifindex)?;
                filters::remove(&name, hook, ifindex)
            }
            Attach::Tc => {
                filters::put(&name, program, hook, ifindex)?;
                unpin(&path)
            }
        }
    }

    /// Whether a program is tied to a device as [`Datapath::tie`] does it.
    pub(super) fn is_tied(
        &self,
        name: &str,
        program: BorrowedFd<'_>,
        hook: Hook,
        ifindex: u32,
    ) -> Result<bool, DatapathError> {
        match self.attach {
            Attach::Tcx => verify_at(&self.pins.links().join(name), program, ifindex),
            Attach::Tc => {
                let name = filters::name(self.installation, name);
                filters::verify(&name, program, hook, ifindex)
            }
        }
    }

    /// Puts the program for what comes from the outside on the device that leads there, or adopts it
    /// there, and lets packets go out of it.
    pub fn attach_outside(&mut self, outside: Outside) -> Result<(), DatapathError> {
        let program = self.programs.outside();
        self.tie(OUTSIDE, program, Hook::Ingress, outside.ifindex)?;
        for layout in loader::other_layouts(self.installation)? {
            unpin(&outside_path(&layout))?;
            remove_if_unused(&layout)?;
        }
        self.set_outside(outside)
    }

    /// Whether the program for what comes from the outside is on this device, and packets go out of it.
    pub fn verify_outside(&self, outside: Outside) -> Result<(), DatapathError> {
        let program = self.programs.outside();
        let is_on = self.is_tied(OUTSIDE, program, Hook::Ingress, outside.ifindex)?;
        if is_on && self.outside()? == outside {
            Ok(())
        } else {
            Err(DatapathError::OutsideNotAttached)
        }
    }

    /// Puts the programs on a device that leads to link-local services. They are there as long as the
    /// links are kept, or the device.
    pub fn attach_service(&self, ifindex: u32) -> Result<ServiceLinks, DatapathError> {
        let mut links = Vec::with_capacity(2);
        for (kind, hook, program) in self.service_programs() {
            match self.attach {
                Attach::Tcx => {
                    let link = maps::attach(program, ifindex, hook);
                    links.push(link.map_err(|source| DatapathError::Service { ifindex, source })?);
                }
                Attach::Tc => {
                    let name = filters::name(self.installation, kind);
                    filters::put(&name, program, hook, ifindex)?;
                }
            }
        }
        Ok(ServiceLinks(links))
    }

    /// Whether the programs are on a device that leads to link-local services.
    pub fn verify_service(
        &self,
        links: &ServiceLinks,
        ifindex: u32,
    ) -> Result<bool, DatapathError> {
        if matches!(self.attach, Attach::Tcx) {
            let is_on = |link: &OwnedFd| {
                let info = maps::link_info(link.as_fd());
                info.is_ok_and(|info| info.ifindex == ifindex)
            };
            return Ok(links.0.iter().all(is_on));
        }
        for (kind, hook, program) in self.service_programs() {
            let name = filters::name(self.installation, kind);
            if !filters::verify(&name, program, hook, ifindex)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Names, hooks and programs of such a device.
    fn service_programs(&self) -> [(&'static str, Hook, BorrowedFd<'_>); 2] {
        [
            ("service-guard", Hook::Egress, self.programs.guard()),
            ("service-service", Hook::Ingress, self.programs.service()),
        ]
    }

    fn program(&self, place: Place) -> BorrowedFd<'_> {
        match (place.hook, place.is_tap) {
            (Hook::Egress, false) => self.programs.guard(),
            (Hook::Egress, true) => self.programs.tap_guard(),
            (Hook::Ingress, false) => self.programs.egress(),
            (Hook::Ingress, true) => self.programs.tap_egress(),
        }
    }

    /// Forgets the links of an ENI. A device that is still there loses its programs by this (but not its
    /// filters), and its packets would reach the host's own stack: delete the device, or take it down,
    /// before.
    pub fn detach(&mut self, eni: EniId) -> Result<(), DatapathError> {
        for place in PLACES {
            unpin(&link_path(&self.pins, eni, place.kind))?;
        }
        Ok(())
    }

    /// Forgets the links of ENIs that nobody knows any more: an agent ended after their devices had
    /// gone. Devices of such ENIs that are still there have to be deleted before, as for
    /// [`Datapath::detach`].
    pub fn forget_links(&mut self, is_known: impl Fn(EniId) -> bool) -> Result<(), DatapathError> {
        let others = loader::other_layouts(self.installation)?;
        for layout in others.iter().chain([&self.pins]) {
            for path in loader::entries(&layout.links())? {
                if eni_of(&path).is_some_and(|eni| !is_known(eni)) {
                    unpin(&path)?;
                }
            }
        }
        others.iter().try_for_each(remove_if_unused)
    }

    /// Whether both programs are on this device of an ENI, by its number.
    pub fn verify_attached(&self, eni: EniId, number: u32) -> Result<(), DatapathError> {
        for place in places_of(number) {
            let name = format!("{eni}-{}", place.kind);
            let program = self.program(place);
            if !self.is_tied(&name, program, place.hook, number & !TAP)? {
                return Err(DatapathError::NotAttached(eni));
            }
        }
        Ok(())
    }
}

/// The links of a device that leads to link-local services: they end when this is dropped. Filters are not
/// among them, they go with the device.
#[derive(Debug)]
pub struct ServiceLinks(Vec<OwnedFd>);

/// Where a program goes on the device of an ENI.
#[derive(Clone, Copy)]
struct Place {
    /// The end of the name of the link's pin.
    kind: &'static str,
    hook: Hook,
    is_tap: bool,
}

/// Where programs go on devices: two on one that is an end of a pair, two on one that is a tap.
const PLACES: [Place; 4] = [
    place(LINK_EGRESS, Hook::Ingress, false),
    place(LINK_GUARD, Hook::Egress, false),
    place(LINK_TAP_EGRESS, Hook::Ingress, true),
    place(LINK_TAP_GUARD, Hook::Egress, true),
];

const fn place(kind: &'static str, hook: Hook, is_tap: bool) -> Place {
    Place { kind, hook, is_tap }
}

/// The places on a device of this number.
fn places_of(number: u32) -> impl Iterator<Item = Place> {
    let is_tap = number & TAP != 0;
    PLACES.into_iter().filter(move |it| it.is_tap == is_tap)
}

fn link_path(pins: &Pins, eni: EniId, kind: &str) -> PathBuf {
    pins.links().join(format!("{eni}-{kind}"))
}

/// The pin of the link on the device that leads to the outside.
fn outside_path(pins: &Pins) -> PathBuf {
    pins.links().join(OUTSIDE)
}

/// The name of the link or filter of the device that leads to the outside.
const OUTSIDE: &str = "gateway-outside";

/// Ties a program to a device, and keeps the link at this path; adopts the one that is there.
fn attach_at(
    path: &Path,
    program: BorrowedFd<'_>,
    hook: Hook,
    ifindex: u32,
) -> Result<(), DatapathError> {
    let failed = |action| link_error(action, path);
    if let Some(link) = open_link(path)? {
        let info = maps::link_info(link.as_fd()).map_err(failed("read"))?;
        if info.ifindex == ifindex {
            // The loader has put the present program behind it.
            return Ok(());
        }
        unpin(path)?;
    }
    let link = maps::attach(program, ifindex, hook).map_err(failed("attach the program of"))?;
    maps::pin(link.as_fd(), path).map_err(failed("pin"))
}

/// Whether the link at this path ties the program to the device.
fn verify_at(path: &Path, program: BorrowedFd<'_>, ifindex: u32) -> Result<bool, DatapathError> {
    let failed = link_error("read", path);
    let Some(link) = open_link(path)? else {
        return Ok(false);
    };
    let info = maps::link_info(link.as_fd()).map_err(&failed)?;
    let wanted = maps::program_id(program).map_err(&failed)?;
    Ok(info.ifindex == ifindex && info.program_id == wanted)
}

/// The ENI that a link is of, from the name of its pin.
fn eni_of(path: &Path) -> Option<EniId> {
    let (eni, kind) = path.file_name()?.to_str()?.rsplit_once('-')?;
    let is_link = PLACES.iter().any(|place| place.kind == kind);
    eni.parse().ok().filter(|_| is_link)
}

/// Removes an earlier layout when no device needs its programs any more.
pub(super) fn remove_if_unused(layout: &Pins) -> Result<(), DatapathError> {
    if loader::entries(&layout.links())?.is_empty() {
        layout.remove()?;
    }
    Ok(())
}

fn link_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> DatapathError {
    let path = path.to_owned();
    move |source| DatapathError::Link {
        action,
        path: path.clone(),
        source,
    }
}

fn open_link(path: &Path) -> Result<Option<OwnedFd>, DatapathError> {
    match maps::open_pin(path) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(link_error("open", path)(error)),
    }
}

pub(super) fn unpin(path: &Path) -> Result<(), DatapathError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(link_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_tells_its_interface() {
        let of = |name: &str| eni_of(&Path::new("/links").join(name));
        assert_eq!(of("eni-00000000000000007-egress"), Some(EniId(7)));
        assert_eq!(of("eni-00000000000000007-guard"), Some(EniId(7)));
        assert_eq!(of("eni-00000000000000007-tap_guard"), Some(EniId(7)));
        let others = [
            "eni-00000000000000007",
            "eni-7-guard",
            "guard",
            "x-egress",
            "gateway-outside",
        ];
        for other in others {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
