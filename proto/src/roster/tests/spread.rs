//! What one device hands to another.

use super::*;

fn ids(statements: &[&Statement]) -> Vec<StatementId> {
    statements.iter().map(|statement| statement.id).collect()
}

#[test]
fn a_peer_is_given_exactly_what_it_lacks_parents_first() {
    let story = Story::tell("ga A genesis\nlb A link B owner\nlc B link C member\nld A link D member");
    let roster = story.roster(0);
    let of = |names: &[&str]| names.iter().map(|name| story.get(name).id).collect::<Vec<_>>();
    assert_eq!(ids(&roster.missing(&[])), of(&["ga", "lb", "lc", "ld"]));
    assert_eq!(ids(&roster.missing(&[story.get("lb").reference()])), of(&["lc", "ld"]));
    assert_eq!(ids(&roster.missing(&roster.heads())), []);
    let mut unknown = story.get("ld").reference();
    unknown.id.0[0] ^= 1;
    let mut conflicting = story.get("ld").reference();
    conflicting.number += 1;
    assert_eq!(roster.missing(&[unknown, conflicting]).len(), 4, "what cannot be made sense of is ignored");
}

#[test]
fn of_what_a_thief_said_links_and_epochs_are_handed_on_and_its_revocation_with_the_proof() {
    let story = Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         rb A revoke B      < lc
         t1 B role A guest  < lb
         t2 B epoch B       < t1
         t3 B link D member < lc
         ec A epoch A C",
    );
    let roster = story.roster(0);
    let of = |names: &[&str]| names.iter().map(|name| story.get(name).id).collect::<Vec<_>>();
    let handed_on = of(&["ga", "lb", "lc", "rb", "t3", "t1", "t2", "ec"]);
    assert_eq!(
        ids(&roster.missing(&[])),
        handed_on,
        "an owner may link D, and somebody may have written under the epoch"
    );
    assert_eq!(ids(&roster.proof_of_removal(identity("B").device())), of(&["ga", "lb", "lc", "rb"]));
    assert_eq!(ids(&roster.proof_of_removal(identity("C").device())), []);
    assert_eq!(story.get("ec").parents, [story.get("t2").reference()], "what is handed on is built upon");
}

#[test]
fn what_counts_is_handed_on_with_the_void_that_it_builds_upon() {
    let story = Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         t1 B role A guest
         t2 B role A guest
         xc C role A member < t1
         rb A revoke B      < lc
         = t1 void E2
         = xc effective",
    );
    let of = |names: &[&str]| names.iter().map(|name| story.get(name).id).collect::<Vec<_>>();
    assert_eq!(ids(&story.roster(0).missing(&[])), of(&["ga", "lb", "lc", "t1", "xc", "rb"]));
}

#[test]
fn the_proof_alone_convinces_the_revoked() {
    let story = Story::tell("ga A genesis\nlb A link B owner\nlc B link C owner\nrb C revoke B\ned C epoch A C");
    let b = identity("B").device();
    let mut told = Roster::new();
    let proof: Vec<Vec<u8>> = story.roster(0).proof_of_removal(b).iter().map(|s| s.bytes.clone()).collect();
    told.insert(&proof).unwrap();
    let device = told.evaluation().device(b).unwrap();
    assert_eq!((device.status, device.removal.as_ref().unwrap().by), (Status::Revoked, identity("C").device()));
}

#[test]
fn a_draft_builds_upon_all_that_is_known_and_continues_its_authors_chain() {
    let story = Story::tell("ga A genesis\nlb A link B owner\nlc B link C member\nra B role C guest");
    let roster = story.roster(5);
    let (a, time) = (identity("A"), Wall(77));
    let draft = roster.draft(&a, time, revoke(identity("C").device()), &mut rng(1));
    assert_eq!((draft.number, draft.previous, draft.time), (3, story.get("lb").id, time));
    assert_eq!(draft.parents, [story.get("ra").reference()]);
    assert_eq!(Statement::decode(&draft.bytes).as_ref(), Ok(&draft));
    assert!(roster.statement(draft.id).is_none());
    let greased = (0..64).filter(|seed| {
        let draft = roster.draft(&a, time, revoke(a.device()), &mut rng(*seed));
        draft.bytes.len() > roster.draft(&a, time, revoke(a.device()), &mut rng(1)).bytes.len()
    });
    assert!(greased.count() > 0, "some carry an extension that nobody knows");
}

#[test]
fn ten_thousand_statements_are_taken_in_at_once() {
    use super::super::statement::Draft;
    let start = Story::tell("ga A genesis\nlb A link B owner\nlc A link C owner");
    let mut heads: BTreeMap<DeviceId, _> = BTreeMap::new();
    let all = ["A", "B", "C"].map(identity);
    heads.insert(all[0].device(), start.get("lc").reference());
    let account = start.get("ga").account;
    let mut batch = start.bytes();
    for i in 0..10_000usize {
        let author = &all[i % 3];
        let own = heads.get(&author.device());
        let (number, previous) = own.map_or((1, StatementId::NONE), |head| (head.number + 1, head.id));
        let parents = heads.values().filter(|head| head.author != author.device()).copied().collect();
        let roles = [Role::Guest, Role::Member];
        let action = if i == 9_990 {
            revoke(all[1].device())
        } else {
            Action::Role { device: DeviceId([(i % 40) as u8; 32]), role: roles[i % 2] }
        };
        let ext = crate::wire::object::Extensions::default();
        let draft = Draft { account, number, previous, parents, time: Wall(i as u64), action, ext };
        let statement = draft.sign(author);
        heads.insert(author.device(), statement.reference());
        batch.push(statement.bytes);
    }
    let mut roster = Roster::new();
    assert_eq!(roster.insert(&batch).unwrap().len(), 10_003);
    assert_eq!(roster.evaluation().void.len(), 3, "what B said after its revocation");
}
