//! Announcements between machines that hear one another, and what strangers get out of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::dns::{self, Message, Name, Response};
use super::*;
use crate::time::Mono;

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn key_of(seed: u64) -> Key {
    Key::of_epoch(&Secret::random(&mut rng(seed)), AccountId([7; 32]))
}

fn addresses(texts: &[&str]) -> Vec<Address> {
    texts.iter().map(|text| Address::Socket(text.parse().unwrap())).collect()
}

fn mdns(ip: &str) -> Mdns {
    let mut mdns = Mdns::default();
    mdns.interfaces(Mono(0), BTreeMap::from([(1, vec![ip.parse().unwrap()])]));
    mdns
}

/// What it sends up to and including `now`.
fn sent(mdns: &mut Mdns, now: u64) -> Vec<Vec<u8>> {
    mdns.tick(Mono(now));
    let mut packets = Vec::new();
    while let Some(output) = mdns.poll() {
        if let Output::Send { packet, .. } = output {
            packets.push(packet);
        }
    }
    packets
}

/// What it hears in `packets`.
fn heard(mdns: &mut Mdns, now: u64, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    packets.iter().for_each(|packet| mdns.received(Mono(now), 1, packet, &mut rng(9)));
    std::iter::from_fn(|| mdns.poll())
        .filter_map(|output| match output {
            Output::Heard { sealed, .. } => Some(sealed),
            Output::Send { .. } => None,
        })
        .collect()
}

#[test]
fn a_device_is_recognised_where_it_says_that_it_is() {
    let (key, device) = (key_of(1), DeviceId([3; 32]));
    let told = addresses(&["192.168.7.2:4711", "[2001:db8::2]:4711", "[fe80::2]:4711"]);
    let sealed = key.seal(device, &told, &mut rng(2));
    let mut speaker = mdns("192.168.7.2");
    let mut listener = mdns("192.168.7.3");
    listener.search(Mono(0), Kind::Account, true, &mut rng(3));
    speaker.serve(Mono(0), Kind::Account, Some(&sealed), &mut rng(4));
    let heard = heard(&mut listener, 0, &sent(&mut speaker, 0));
    assert_eq!(heard, [sealed]);
    let mut recogniser = Recogniser::default();
    recogniser.learn(vec![key_of(5), key]);
    let sighting = recogniser.recognise(Mono(0), &heard[0]).unwrap();
    assert_eq!(sighting.device, device);
    let told: Vec<SocketAddr> = told.iter().filter_map(Address::socket).collect();
    assert_eq!(sighting.addresses, told);
}

#[test]
fn who_comes_later_asks_and_is_answered_once_in_a_second() {
    let sealed = key_of(1).seal(DeviceId([3; 32]), &[], &mut rng(2));
    let (mut speaker, mut listener) = (mdns("10.0.0.1"), mdns("10.0.0.2"));
    speaker.serve(Mono(0), Kind::Account, Some(&sealed), &mut rng(4));
    for now in [0, 1000, 3000] {
        assert_eq!(sent(&mut speaker, now).len(), 1, "it announces at first, and twice more");
    }
    assert_eq!(speaker.deadline(), None);
    listener.search(Mono(10_000), Kind::Account, true, &mut rng(3));
    let queries = sent(&mut listener, 10_120);
    assert_eq!(queries.len(), 1);
    for at in [10_120, 10_200, 10_300] {
        heard(&mut speaker, at, &queries);
    }
    let answers = sent(&mut speaker, 10_240);
    assert_eq!(answers.len(), 1);
    assert_eq!(heard(&mut listener, 10_240, &answers), [sealed]);
    heard(&mut speaker, 10_300, &queries);
    assert!(sent(&mut speaker, 11_000).is_empty(), "another answer waits");
    assert_eq!(sent(&mut speaker, 11_500).len(), 1);
}

#[test]
fn queries_become_rare_and_start_anew_on_a_new_network() {
    let mut listener = mdns("10.0.0.2");
    listener.search(Mono(0), Kind::Link, true, &mut rng(3));
    let mut times = Vec::new();
    while let Some(due) = listener.deadline().filter(|due| due.0 < 4 * 3_600_000) {
        assert_eq!(sent(&mut listener, due.0).len(), 1);
        times.push(due.0);
    }
    assert!(times.len() < 20, "{times:?}");
    assert!(times.windows(3).all(|w| w[2] - w[1] >= w[1] - w[0] || w[2] - w[1] == 3_600_000), "{times:?}");
    let later = 5 * 3_600_000;
    listener.interfaces(Mono(later), BTreeMap::from([(2, vec!["10.9.0.2".parse().unwrap()])]));
    assert_eq!(listener.deadline(), Some(Mono(later)));
}

#[test]
fn what_is_known_is_not_repeated_and_what_is_gone_is_taken_back() {
    let sealed = key_of(1).seal(DeviceId([3; 32]), &[], &mut rng(2));
    let (mut speaker, mut listener) = (mdns("10.0.0.1"), mdns("10.0.0.2"));
    listener.search(Mono(0), Kind::Account, true, &mut rng(3));
    speaker.serve(Mono(0), Kind::Account, Some(&sealed), &mut rng(4));
    let announced = sent(&mut speaker, 0).remove(0);
    [1000, 3000].into_iter().for_each(|now| drop(sent(&mut speaker, now)));
    // A query that lists the speaker's pointer as a known answer.
    let mut query = dns::query(&Name::new(["_kinlink", "_udp", "local"]));
    query[6..8].copy_from_slice(&3u16.to_be_bytes());
    query.extend_from_slice(&announced[12..]);
    heard(&mut speaker, 5000, &[query]);
    assert_eq!(speaker.deadline(), None, "it is known already");
    heard(&mut speaker, 5000, &[dns::query(&Name::new(["_kinlink", "_udp", "local"]))]);
    assert!(speaker.deadline().is_some());
    sent(&mut speaker, 5200);
    speaker.serve(Mono(6000), Kind::Account, None, &mut rng(5));
    let goodbye = sent(&mut speaker, 6000);
    assert!(Message::read(&goodbye[0]).unwrap().records.iter().all(|record| record.ttl == 0));
    assert!(heard(&mut listener, 6000, &goodbye).is_empty());
}

#[test]
fn names_are_drawn_anew_and_say_nothing() {
    let (key, device) = (key_of(1), DeviceId([0xab; 32]));
    let mut speaker = mdns("10.0.0.1");
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..8 {
        let sealed = key.seal(device, &addresses(&["10.0.0.1:4711"]), &mut rng(round));
        speaker.serve(Mono(0), Kind::Account, Some(&sealed), &mut rng(100 + round));
        let packet = sent(&mut speaker, 0).pop().unwrap();
        assert!(packet.len() <= 1232);
        assert!(!packet.windows(4).any(|bytes| bytes == [0xab; 4]), "the device's id is in the clear");
        assert!(!packet.windows(2).any(|bytes| bytes == 4711u16.to_be_bytes()), "its port is in the clear");
        let names = Message::read(&packet).unwrap().records.into_iter().map(|record| format!("{:?}", record.said));
        seen.extend(names);
    }
    // A pointer and a text a round; and what is the same every time: "other".
    assert_eq!(seen.len(), 17);
}

#[test]
fn an_interface_with_every_kind_of_address_fits_the_smallest_packet() {
    let mut speaker = Mdns::default();
    let many: Vec<IpAddr> = (0..20u128).map(|at| IpAddr::V6(at.into())).collect();
    speaker.interfaces(Mono(0), BTreeMap::from([(1, many)]));
    let far = vec![Address::Socket("[2001:db8::1]:1".parse().unwrap()); 30];
    let sealed = key_of(1).seal(DeviceId([3; 32]), &far, &mut rng(2));
    speaker.serve(Mono(0), Kind::Link, Some(&sealed), &mut rng(4));
    let packets = sent(&mut speaker, 0);
    assert!(packets[0].len() <= 1232, "{}", packets[0].len());
    assert_eq!(key_of(1).open(&sealed).unwrap().addresses.len(), limits::ADDRESSES);
}

#[test]
fn all_announcements_are_equally_long() {
    let key = key_of(1);
    let few = key.seal(DeviceId([3; 32]), &[], &mut rng(2));
    let many = key.seal(DeviceId([4; 32]), &addresses(&["[2001:db8::1]:1"; 8]), &mut rng(2));
    assert_eq!((few.len(), many.len()), (SEALED, SEALED));
}

#[test]
fn a_challenge_gives_one_key_whatever_its_text() {
    let identity = key::Identity::random(&mut rng(1));
    let terms = crate::wire::challenge::Terms {
        role: crate::roster::Role::Owner,
        custody: crate::roster::Custody::Personal,
        anywhere: false,
        expires: 0,
        addresses: addresses(&["10.0.0.1:1", "10.0.0.2:2"]),
    };
    let challenge = Challenge::sign(&identity, terms, &mut rng(2));
    let (qr, text) = (challenge.to_qr(&identity), challenge.to_text());
    let keys = [qr, text].map(|text| Key::of_challenge(&Challenge::parse(&text).unwrap()));
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn what_is_sealed_under_another_key_or_altered_opens_nothing() {
    let sealed = key_of(1).seal(DeviceId([3; 32]), &[], &mut rng(2));
    assert!(key_of(2).open(&sealed).is_none());
    for at in 0..SEALED {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        assert!(key_of(1).open(&altered).is_none());
    }
    assert!(key_of(1).open(&sealed[1..]).is_none());
}

#[test]
fn a_flood_costs_a_bounded_number_of_tries_and_ends_with_the_second() {
    let (key, mut rng) = (key_of(1), rng(3));
    let mut recogniser = Recogniser::default();
    recogniser.learn((2..102).map(key_of).chain([key.clone()]).collect());
    let real = key.seal(DeviceId([3; 32]), &[], &mut rng);
    for _ in 0..limits::OPENINGS {
        let mut junk = vec![0; SEALED];
        rng.fill_bytes(&mut junk);
        assert!(recogniser.recognise(Mono(0), &junk).is_none());
    }
    assert!(recogniser.recognise(Mono(999), &real).is_none(), "nothing more is tried within this second");
    assert!(recogniser.recognise(Mono(1000), &real).is_some());
}

#[test]
fn a_repeated_announcement_is_not_news() {
    let key = key_of(1);
    let mut recogniser = Recogniser::default();
    recogniser.learn(vec![key.clone()]);
    let sealed = key.seal(DeviceId([3; 32]), &[], &mut rng(2));
    assert!(recogniser.recognise(Mono(0), &sealed).is_some());
    assert!(recogniser.recognise(Mono(1), &sealed).is_none());
    let again = Mono(0).after(limits::SIGHTING_AGAIN);
    assert!(recogniser.recognise(again, &sealed).is_some());
}

#[test]
fn names_that_lead_in_circles_are_refused() {
    for pointer in [[0xc0, 12], [0xc0, 0xff]] {
        let mut query = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend_from_slice(&pointer);
        query.extend_from_slice(&[0, 12, 0, 1]);
        assert!(Message::read(&query).is_err());
    }
}

#[test]
fn a_hundred_announcements_in_one_message_are_sixteen() {
    let sealed = key_of(1).seal(DeviceId([3; 32]), &[], &mut rng(2));
    let mut text = b"\x03v=1".to_vec();
    text.push(u8::try_from(SEALED + 2).unwrap());
    text.extend_from_slice(b"s=");
    text.extend_from_slice(&sealed);
    let mut response = Response::new(false);
    for at in 0..100 {
        response.text(&Name::new([format!("x{at}").as_str(), "_kinlink", "_udp", "local"]), &text);
    }
    let mut listener = mdns("10.0.0.2");
    listener.search(Mono(0), Kind::Account, true, &mut rng(3));
    assert_eq!(heard(&mut listener, 0, &[response.finish()]).len(), 16);
}

proptest! {
    #[test]
    fn no_message_does_harm(bytes in proptest::collection::vec(any::<u8>(), 0..600), flags in any::<u8>()) {
        let mut packet = vec![0, 0, flags & 0x80, 0, 0, 2, 0, 2, 0, 0, 0, 1];
        packet.extend(bytes);
        let mut machine = mdns("10.0.0.1");
        machine.search(Mono(0), Kind::Account, true, &mut rng(3));
        machine.serve(Mono(0), Kind::Link, Some(&[0; SEALED]), &mut rng(4));
        machine.received(Mono(0), 1, &packet, &mut rng(5));
        machine.tick(Mono(0).after(Duration::from_secs(5)));
        while machine.poll().is_some() {}
    }
}
