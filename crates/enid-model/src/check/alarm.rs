//! Alarms.

use super::Report;

impl Report<'_> {
    pub(super) fn alarms(&mut self) {
        for (key, alarm) in &self.region.alarms {
            self.need(
                **key == *alarm.name,
                key,
                "its name is its key",
                &alarm.name,
            );
        }
    }
}
