//! The device of an ENI as a tap: the guest is behind the host's end itself.

use enid_pipeline::table::TAP;

use super::{DeviceError, EniDevice, MTU, disable_ipv6, index_of, remove_link};
use crate::Installation;
use crate::netlink::Netlink;
use crate::tap::{self, TapOwner};

impl EniDevice {
    /// Makes the tap, switched off, and returns its number as a device. The host's stack has no
    /// address on it and asks nothing there.
    ///
    /// What is left of an earlier device of the same ENI is replaced.
    pub fn create_tap(
        &self,
        installation: Installation,
        owner: TapOwner,
    ) -> Result<u32, DeviceError> {
        let name = self.host_name();
        let mut host = Netlink::open().map_err(|e| self.refused(e))?;
        remove_link(&mut host, installation, self.eni)?;
        tap::create(&name, owner).map_err(|source| DeviceError::Tap {
            name: name.clone(),
            source,
        })?;
        let configured = self.configure_tap(installation, &mut host);
        if configured.is_err() {
            // The first failure is the one to report; what is left is replaced by the next try.
            let _ = remove_link(&mut host, installation, self.eni);
        }
        configured
    }

    /// Switches the tap on.
    pub fn up_tap(&self, number: u32) -> Result<(), DeviceError> {
        let mut host = Netlink::open().map_err(|e| self.refused(e))?;
        host.set_up(number & !TAP).map_err(|e| self.refused(e))
    }

    /// Gives the tap another owner; nobody may have it open.
    pub fn give_tap(&self, owner: TapOwner) -> Result<(), DeviceError> {
        let name = self.host_name();
        tap::give(&name, owner).map_err(|source| DeviceError::Tap { name, source })
    }

    fn configure_tap(
        &self,
        installation: Installation,
        host: &mut Netlink,
    ) -> Result<u32, DeviceError> {
        let name = self.host_name();
        let index = index_of(host, &name).map_err(|e| self.or_refused(e))?;
        disable_ipv6(&name)?;
        host.set_alias(index, &installation.eni_alias(self.eni))
            .and_then(|()| host.set_no_ipv6_autoconfiguration(index))
            .and_then(|()| host.set_ethernet(index, self.router_mac, MTU))
            .and_then(|()| host.set_noarp(index))
            .map_err(|e| self.refused(e))?;
        Ok(index | TAP)
    }
}
