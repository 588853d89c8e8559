//! The topic's partitions, and the idempotent producer in front of them.

use std::collections::VecDeque;

use crate::random::Random;

/// A record on its way. Within a partition records land and are acknowledged in the order they were
/// produced, which is what the idempotent producer guarantees.
struct Record {
    event: usize,
    token: usize,
    landed: bool,
}

pub(crate) enum Landing {
    Landed(usize),
    /// The broker refuses the record; nothing behind it in its partition lands.
    Refused(usize),
}

pub(crate) struct Broker {
    partitions: Vec<VecDeque<Record>>,
    /// What dead producers still had on the wire, each queue in its order.
    late: Vec<VecDeque<usize>>,
    /// Every record that landed, in that order.
    pub(crate) landings: Vec<usize>,
    /// Per event, how often the broker is still to refuse it.
    refusals: Vec<u32>,
}

impl Broker {
    pub(crate) fn new(partitions: usize) -> Self {
        Broker {
            partitions: (0..partitions).map(|_| VecDeque::new()).collect(),
            late: Vec::new(),
            landings: Vec::new(),
            refusals: Vec::new(),
        }
    }

    pub(crate) fn event_added(&mut self, refusals: u32) {
        self.refusals.push(refusals);
    }

    /// From now on the broker takes everything.
    pub(crate) fn relent(&mut self) {
        self.refusals.fill(0);
    }

    pub(crate) fn produce(&mut self, key: usize, event: usize, token: usize) {
        let partition = key % self.partitions.len();
        self.partitions[partition].push_back(Record { event, token, landed: false });
    }

    fn partitions_where(&self, test: impl Fn(&VecDeque<Record>) -> bool) -> Vec<usize> {
        let numbered = self.partitions.iter().enumerate();
        numbered.filter(|(_, records)| test(records)).map(|(number, _)| number).collect()
    }

    fn to_land(&self) -> Vec<usize> {
        self.partitions_where(|records| records.back().is_some_and(|record| !record.landed))
    }

    fn to_acknowledge(&self) -> Vec<usize> {
        self.partitions_where(|records| records.front().is_some_and(|record| record.landed))
    }

    pub(crate) fn can_land(&self) -> bool {
        !self.to_land().is_empty()
    }

    pub(crate) fn can_acknowledge(&self) -> bool {
        !self.to_acknowledge().is_empty()
    }

    pub(crate) fn land(&mut self, random: &mut Random) -> Option<Landing> {
        let partition = random.pick(&self.to_land());
        let record = self.partitions[partition].iter_mut().find(|record| !record.landed)?;
        let event = record.event;
        if self.refusals[event] > 0 {
            self.refusals[event] -= 1;
            return Some(Landing::Refused(event));
        }
        record.landed = true;
        self.landings.push(event);
        Some(Landing::Landed(event))
    }

    /// A delivery report: the token and the event.
    pub(crate) fn acknowledge(&mut self, random: &mut Random) -> Option<(usize, usize)> {
        let partition = random.pick(&self.to_acknowledge());
        self.partitions[partition].pop_front().map(|record| (record.token, record.event))
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.partitions.iter().all(VecDeque::is_empty)
    }

    /// The producer is gone. Of what it had on the wire, a first part of each partition lands now, a next
    /// part perhaps later, the rest never. A record that would be refused ends it.
    pub(crate) fn producer_dies(&mut self, random: &mut Random) {
        for records in &mut self.partitions {
            let on_wire = records.drain(..).filter(|record| !record.landed).map(|record| record.event);
            let refusals = &self.refusals;
            let mut events: VecDeque<usize> = on_wire.take_while(|event| refusals[*event] == 0).collect();
            for _ in 0..random.between(0, events.len()) {
                self.landings.extend(events.pop_front());
            }
            if random.chance(30) && !events.is_empty() {
                events.truncate(random.between(1, events.len()));
                self.late.push(events);
            }
        }
    }

    pub(crate) fn has_late_record(&self) -> bool {
        !self.late.is_empty()
    }

    pub(crate) fn late_record_lands(&mut self, random: &mut Random) -> Option<usize> {
        let queue = random.below(self.late.len());
        let event = self.late[queue].pop_front();
        if self.late[queue].is_empty() {
            self.late.swap_remove(queue);
        }
        self.landings.extend(event);
        event
    }
}
