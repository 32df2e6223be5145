//! Devices that were linked meanwhile, those that have not heard of them, and strangers who would like to be taken for such.

use super::*;
use crate::id::EpochId;
use crate::roster::Role;
use crate::roster::statement::Action;
use crate::roster::tests::link;
use crate::wire::message::Introduction;
use crate::wire::object::Extensions;

/// Three devices; 1, an owner, has not heard that 0 linked a fourth.
fn newcomer(seed: u64) -> Lab {
    let mut lab = Lab::account(seed, 3);
    lab.unplug(1);
    lab.add(3);
    lab.link(0, 3);
    assert_eq!((lab.status(1, 3), lab.status(3, 3)), (None, Some(Status::Linked)));
    lab
}

impl Lab {
    /// A key that `at` does not know connects, and is a puppet.
    fn stranger(&mut self, at: usize, peer: DeviceId, exporter: [u8; 32]) -> ConnId {
        let conn = self.new_conn();
        self.feed(at, Input::Connected { conn, peer, dialled: false, address: Self::address(9), exporter });
        conn
    }

    /// An introduction of `newcomer` to `at`, by whoever holds the keys of `holder`.
    fn introduction(&self, holder: usize, newcomer: DeviceId, at: usize, exporter: [u8; 32]) -> Message {
        let keyring = &self.engine(holder).keyring;
        let mac = |epoch| keyring.introduction(epoch, &Secret(exporter), newcomer, self.id(at)).unwrap();
        let macs = keyring.iter().map(|(epoch, _)| (epoch, mac(epoch))).collect();
        Message::Introduction(Introduction { macs, ext: Extensions::default() })
    }

    /// The statements that link a device, as another knows them.
    fn linking(&self, device: usize, known_to: usize) -> Message {
        let proof = self.engine(known_to).roster.proof_of_link(self.id(device));
        Message::Statements(proof.into_iter().map(|statement| statement.bytes.clone()).collect())
    }

    /// Nobody whom `at` does not know got anything in there.
    fn refused(&self, at: usize, conn: ConnId, before: usize) {
        assert_eq!(self.closed_with(at, conn), Some(CloseCode::UnknownDevice));
        assert_eq!(self.engine(at).roster.statements().count(), before, "something was kept");
        let said: Vec<_> = self.devices[at].sent.iter().filter(|(to, _)| *to == conn).collect();
        assert!(said.is_empty(), "a stranger was told {said:?}");
    }
}

#[test]
fn a_new_device_is_introduced_to_one_that_has_not_heard_of_it() {
    let mut lab = newcomer(60);
    let session = lab.session(3);
    assert!(lab.put(3, session, "k", b"v").is_ok());
    // It hears that it is unknown there, and introduces itself when it dials again.
    let (_, at_one) = lab.connect(3, 1);
    assert_eq!(lab.closed_with(1, at_one), Some(CloseCode::UnknownDevice));
    assert_eq!(lab.status(1, 3), None);
    lab.connect(3, 1);
    assert_eq!(lab.status(1, 3), Some(Status::Linked));
    assert_eq!(lab.read(1, session, "k"), Some(b"v".to_vec()));
    assert!(lab.put(1, session, "k", b"w").is_ok());
    assert_eq!(lab.read(3, session, "k"), Some(b"w".to_vec()), "it goes both ways");
}

#[test]
fn an_introduction_to_one_that_has_heard_meanwhile_does_no_harm() {
    let mut lab = newcomer(61);
    lab.connect(3, 1);
    lab.connect(0, 1);
    assert_eq!(lab.status(1, 3), Some(Status::Linked));
    let (at_three, at_one) = lab.connect(3, 1);
    assert_eq!((lab.closed_with(3, at_three), lab.closed_with(1, at_one)), (None, None));
    let session = lab.session(3);
    assert!(lab.put(3, session, "k", b"v").is_ok());
    assert_eq!(lab.read(1, session, "k"), Some(b"v".to_vec()));
}

/// Whoever was linked by one that was being revoked hears of that from the first who knows, even if that one has never heard of it.
#[test]
fn a_newcomer_learns_that_its_linker_was_being_revoked() {
    let mut lab = Lab::account(69, 3);
    lab.unplug(1);
    assert!(lab.revoke(1, 0).is_ok());
    lab.add(3);
    lab.link(0, 3);
    let (linker, before) = (lab.id(0), lab.engine(1).roster.statements().count());
    // It hears that it is unknown there, and introduces itself when it dials again.
    lab.connect(3, 1);
    assert_eq!((lab.status(3, 3), lab.status(3, 0)), (Some(Status::Linked), Some(Status::Linked)));
    let (_, at_one) = lab.connect(3, 1);
    assert_eq!(lab.closed_with(1, at_one), Some(CloseCode::Revoked));
    assert_eq!((lab.status(3, 3), lab.status(3, 0)), (Some(Status::Unconfirmed), Some(Status::Revoked)));
    assert_eq!((lab.status(1, 3), lab.engine(1).roster.statements().count()), (None, before), "something was kept");
    assert!(!lab.engine(1).peers[&linker].told, "another was told");
}

/// Who was revoked while away hears of it also from a device that it has never heard of.
#[test]
fn a_newcomer_tells_a_revoked_device() {
    let mut lab = Lab::account(62, 3);
    lab.unplug(1);
    assert!(lab.revoke(0, 1).is_ok());
    lab.add(3);
    lab.link(0, 3);
    lab.connect(3, 1);
    assert_eq!(lab.status(1, 1), Some(Status::Revoked));
    assert!(lab.engine(1).local.out && lab.engine(1).epochs().next().is_none(), "its keys are gone");
    // It was told nothing else: nobody who came later, and no later epoch.
    assert_eq!(lab.status(1, 3), None);
}

/// Nothing is looked at before the mac holds: not the statements that link the newcomer, nor a hello.
#[test]
fn without_a_mac_nothing_is_looked_at() {
    let mut lab = newcomer(63);
    let (three, before) = (lab.id(3), lab.engine(1).roster.statements().count());
    let says = [lab.linking(3, 3), lab.hello(3), Message::Revoked(vec![vec![1]]), Message::Want(vec![])];
    for message in says {
        let conn = lab.stranger(1, three, EXPORTER);
        lab.say(1, conn, &message);
        lab.refused(1, conn, before);
        lab.say(1, conn, &lab.introduction(3, three, 1, EXPORTER));
        lab.say(1, conn, &lab.linking(3, 3));
        lab.refused(1, conn, before);
    }
}

/// A mac that is wrong, was made for another connection, for another key or to another device is none.
#[test]
fn a_mac_holds_for_one_connection_and_two_devices() {
    let mut lab = newcomer(64);
    let (three, two, before) = (lab.id(3), lab.id(2), lab.engine(1).roster.statements().count());
    let Message::Introduction(mut wrong) = lab.introduction(3, three, 1, EXPORTER) else { panic!() };
    wrong.macs.iter_mut().for_each(|(_, mac)| mac[31] ^= 1);
    let Message::Introduction(mut renamed) = lab.introduction(3, three, 1, EXPORTER) else { panic!() };
    renamed.macs.iter_mut().for_each(|(epoch, _)| *epoch = EpochId([epoch.0[0]; 32]));
    let cheats = [
        Message::Introduction(wrong),
        Message::Introduction(renamed),
        lab.introduction(3, three, 1, [9; 32]),
        lab.introduction(3, two, 1, EXPORTER),
        lab.introduction(3, three, 0, EXPORTER),
        Message::Introduction(Introduction { macs: Vec::new(), ext: Extensions::default() }),
    ];
    for cheat in cheats {
        let conn = lab.stranger(1, three, EXPORTER);
        lab.say(1, conn, &cheat);
        lab.say(1, conn, &lab.linking(3, 3));
        lab.refused(1, conn, before);
    }
    let conn = lab.stranger(1, three, EXPORTER);
    lab.say(1, conn, &lab.introduction(3, three, 1, EXPORTER));
    lab.say(1, conn, &lab.linking(3, 3));
    assert_eq!(lab.status(1, 3), Some(Status::Linked), "the honest one is let in");
}

/// Who got hold of a key that is not linked, and of an epoch, brings what links somebody else, or nobody.
#[test]
fn what_does_not_link_the_newcomer_is_not_kept() {
    let mut lab = newcomer(65);
    let thief = Identity::random(&mut lab.rng).device();
    let before = lab.engine(1).roster.statements().count();
    let session_statements = lab.linking(3, 3);
    for brought in [session_statements, Message::Statements(Vec::new()), Message::Revoked(Vec::new())] {
        let conn = lab.stranger(1, thief, EXPORTER);
        lab.say(1, conn, &lab.introduction(3, thief, 1, EXPORTER));
        lab.say(1, conn, &brought);
        lab.refused(1, conn, before);
    }
    assert_eq!(lab.status(1, 3), None);
    // Garbage behind a good mac costs the connection as well.
    let conn = lab.stranger(1, thief, EXPORTER);
    lab.say(1, conn, &lab.introduction(3, thief, 1, EXPORTER));
    lab.say(1, conn, &Message::Statements(vec![vec![1, 2, 3]]));
    assert_eq!(lab.closed_with(1, conn), Some(CloseCode::Protocol));
    assert_eq!(lab.engine(1).roster.statements().count(), before);
}

/// A revoked owner links a fresh key of its own and sends that to one who knows of the revocation: the epochs that the
/// revoked one was given are worth nothing there, and with a newer one, stolen elsewhere, its link is void.
#[test]
fn a_revoked_owner_brings_nobody_in() {
    let mut lab = Lab::account(66, 3);
    let two = lab.id(2);
    assert!(lab.order(0, Command::SetRole { device: two, role: Role::Owner }).is_ok());
    lab.unplug(2);
    let fresh = Identity::random(&mut lab.rng);
    let link = linking_statement(&mut lab, 2, &fresh);
    assert!(lab.revoke(0, 2).is_ok());
    assert_eq!(lab.status(1, 2), Some(Status::Revoked));
    let before = lab.engine(1).roster.statements().count();
    for holder in [2, 0] {
        let conn = lab.stranger(1, fresh.device(), EXPORTER);
        lab.say(1, conn, &lab.introduction(holder, fresh.device(), 1, EXPORTER));
        lab.say(1, conn, &link);
        // It is told what its linker is told, too, and nothing else.
        assert_eq!(lab.closed_with(1, conn), Some(CloseCode::Revoked));
        assert_eq!(lab.engine(1).roster.statements().count(), before, "something was kept");
        let proof = lab.engine(1).roster.proof_of_removal(two).into_iter().map(|said| said.bytes.clone()).collect();
        let said: Vec<_> = lab.devices[1].sent.iter().filter(|(to, _)| *to == conn).map(|(_, frame)| frame).collect();
        assert_eq!(said, [&Message::Revoked(proof).to_frame()]);
    }
}

/// A link of `who` by a device, as it would say it.
fn linking_statement(lab: &mut Lab, by: usize, who: &Identity) -> Message {
    let (owner, account) = (lab.devices[by].config.identity.clone(), lab.engine(by).account().unwrap());
    let action = link(account, who, Role::Member);
    let statement = lab.devices[by].engine.roster.draft(&owner, lab.now.wall, action, &mut lab.rng);
    Message::Statements(vec![statement.bytes])
}

#[test]
fn strangers_are_heard_a_few_at_once_and_not_for_long() {
    let mut lab = newcomer(67);
    let before = lab.engine(1).roster.statements().count();
    let strangers: Vec<ConnId> = (0..=limits::INTRODUCTIONS)
        .map(|_| {
            let key = Identity::random(&mut lab.rng).device();
            lab.stranger(1, key, EXPORTER)
        })
        .collect();
    lab.refused(1, strangers[limits::INTRODUCTIONS], before);
    assert_eq!(lab.closed_with(1, strangers[0]), None);
    lab.pass(limits::INTRODUCTION);
    strangers.iter().for_each(|conn| lab.refused(1, *conn, before));
    assert!(lab.engine(1).peers.len() <= 3, "strangers are not remembered");
    lab.connect(3, 1);
    lab.connect(3, 1);
    assert_eq!(lab.status(1, 3), Some(Status::Linked));
}

/// The statements of a newcomer fit into a bounded frame, or it is not introduced by them.
#[test]
fn too_much_is_not_looked_at() {
    let mut lab = newcomer(68);
    let (three, before) = (lab.id(3), lab.engine(1).roster.statements().count());
    let conn = lab.stranger(1, three, EXPORTER);
    lab.say(1, conn, &lab.introduction(3, three, 1, EXPORTER));
    let Message::Statements(mut statements) = lab.linking(3, 3) else { panic!() };
    statements.push(vec![0; limits::FRAME_INTRODUCED]);
    lab.say(1, conn, &Message::Statements(statements));
    assert_eq!(lab.closed_with(1, conn), Some(CloseCode::Protocol));
    assert_eq!(lab.engine(1).roster.statements().count(), before);
}

/// A roster too large for the frame is cut to what the receiver lacked when it last reported.
#[test]
fn of_a_large_roster_only_the_news_is_brought() {
    let mut lab = Lab::account(69, 3);
    for _ in 0..200 {
        let actions = Action::Applied { revocations: Vec::new() };
        let owner = lab.devices[0].config.identity.clone();
        let said = lab.devices[0].engine.roster.draft(&owner, lab.now.wall, actions, &mut lab.rng);
        for at in [0, 1, 2] {
            lab.devices[at].engine.roster.insert(std::slice::from_ref(&said.bytes)).unwrap();
        }
    }
    assert!(lab.put_any(1).is_ok());
    lab.pass(Duration::from_secs(5));
    lab.unplug(1);
    lab.add(3);
    lab.link(0, 3);
    lab.connect(3, 1);
    lab.connect(3, 1);
    assert_eq!(lab.status(1, 3), Some(Status::Linked));
}

impl Lab {
    /// A write of no importance, after which the device reports.
    fn put_any(&mut self, at: usize) -> Result<Reply, CommandError> {
        let session = self.session(at);
        self.put(at, session, "any", b"any")
    }
}
