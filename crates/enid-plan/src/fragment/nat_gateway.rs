//! A NAT gateway: its addresses. Its interface is an owner of its own.

use enid_model::id::ResourceId as _;
use enid_model::nat_gateway::NatGateway;
use enid_pipeline::table::{NAT_ADDRESSES_MAX, NatRecord};

use crate::tables::Tables;

/// A NAT gateway that packets go through; `is_exhausted` if it shall have no ports.
pub(crate) fn of_nat_gateway(gateway: &NatGateway, is_exhausted: bool) -> Tables {
    let mut record = NatRecord {
        vpc: gateway.vpc.bits(),
        subnet: gateway.subnet.bits(),
        eni: gateway.eni.bits(),
        flags: if gateway.is_public {
            NatRecord::PUBLIC
        } else {
            0
        },
        count: 0,
        private: [[0; 4]; NAT_ADDRESSES_MAX],
        public: [[0; 4]; NAT_ADDRESSES_MAX],
        draining: 0,
    };
    // The control plane allows at most eight addresses, the length of the arrays.
    let slots = record.private.iter_mut().zip(&mut record.public);
    for ((private, public), address) in slots.zip(&gateway.addresses) {
        if address.drain_until.is_some() {
            record.draining |= 1 << record.count;
        }
        *private = address.private_ip.octets();
        if let Some(own) = address.public {
            *public = own.public_ip.octets();
        }
        record.count += 1;
    }
    if is_exhausted {
        record.flags |= NatRecord::EXHAUSTED;
    }
    let mut tables = Tables::default();
    tables.nats.insert(gateway.id.bits(), record);
    tables
}
