//! What the kernel says was sent in this network.

use std::fs;

/// Counters that a packet cannot pass by.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    /// TCP connections that were begun, whoever they were for.
    pub(crate) connections: u64,
    /// Datagrams and messages that are no TCP.
    pub(crate) datagrams: u64,
}

impl Sent {
    /// So far.
    pub(crate) fn now() -> Self {
        let text = fs::read_to_string("/proc/net/snmp").unwrap();
        let of = |protocol, name| counter(&text, protocol, name).unwrap();
        // A kernel without IPv6 has none.
        let six = fs::read_to_string("/proc/net/snmp6").unwrap_or_default();
        let six = |name: &str| {
            let value = six.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
            value.unwrap_or(0)
        };
        let datagrams = of("Udp", "OutDatagrams") + six("Udp6OutDatagrams ") + of("UdpLite", "OutDatagrams");
        Self { connections: of("Tcp", "ActiveOpens"), datagrams: datagrams + of("Icmp", "OutMsgs") }
    }

    /// What is not explained by so many connections.
    pub(crate) fn unexplained(self, before: Self, connections: usize) -> Vec<String> {
        let mut wrong = Vec::new();
        let begun = self.connections - before.connections;
        if begun != connections as u64 {
            wrong.push(format!("the kernel counts {begun} connections, the chain explains {connections}"));
        }
        if self.datagrams != before.datagrams {
            wrong.push(format!("{} datagrams were sent", self.datagrams - before.datagrams));
        }
        wrong
    }
}

/// A counter of `/proc/net/snmp`: a line of names, a line of values.
fn counter(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split(' ').position(|known| known == name)?;
    values.split(' ').nth(at)?.parse().ok()
}
