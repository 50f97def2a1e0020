//! What had ended stays ended when damage takes the notes of it, once an index that knew has said it again.

use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use revenium_migrations::log_v1::ChunkKind;

use super::world::{Index, World, refused};
use crate::checkpoint;
use crate::chunk::ChunkAt;
use crate::restate;
use crate::scan::{self, FIRST_CHUNK, Step};
use crate::segment::Pos;
use crate::shared::{Listed, add, lock};
use crate::types::{End, Settlement};

impl World {
    fn chunks(&self) -> Vec<ChunkAt> {
        let shared = self.shared();
        let ordinals: Vec<u64> = lock(&shared.table).segments.keys().copied().collect();
        let mut found = Vec::new();
        for listed in ordinals.into_iter().filter_map(|o| shared.listed(o)) {
            let mut offset = FIRST_CHUNK;
            while let Step::Chunk(at, _) = scan::step(&listed.segment, offset, listed.until, None).unwrap() {
                offset = at.end();
                found.push(at);
            }
        }
        found
    }

    /// Chunks of which no record waits or is dead any more where they lie.
    pub(super) fn spent_chunks(&self) -> Vec<ChunkAt> {
        let mut found = self.chunks();
        let index = lock(&self.shared().index);
        found.retain(|at| index.as_ref().unwrap().records_where(|place| place == at.pos).unwrap().is_empty());
        drop(index);
        found
    }

    /// Those of a kind in one of the segments.
    pub(super) fn spent(&self, ordinal: u64, kind: ChunkKind) -> Vec<ChunkAt> {
        let mut found = self.spent_chunks();
        found.retain(|at| at.pos.ordinal == ordinal && at.header.kind == kind);
        assert!(!found.is_empty(), "no such chunk");
        found
    }

    /// Damages chunks while the store is closed. The next life meets it, and was not yet told.
    pub(super) fn damage(&mut self, chunks: &[ChunkAt]) {
        let table = lock(&self.shared().table).segments.clone();
        let path = |at: &ChunkAt| table[&at.pos.ordinal].segment.file.path().to_path_buf();
        let places: Vec<_> = chunks.iter().map(|at| (path(at), at.pos.offset)).collect();
        drop(table);
        self.open = None;
        for (path, offset) in places {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[usize::try_from(offset).unwrap() + 20] ^= 0x10;
            std::fs::write(path, bytes).unwrap();
        }
        self.reopen(None, Index::Kept);
    }

    /// Damages a byte of the log while the store is open.
    fn damage_byte(&self, ordinal: u64, offset: u64) {
        let listed = self.shared().listed(ordinal).unwrap();
        let file = std::fs::File::options().read(true).write(true).open(listed.segment.file.path()).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
    }

    /// As who reads all of the log does. A store that opens reads the newest segments.
    pub(super) fn meet(&self, chunks: &[ChunkAt]) {
        for at in chunks {
            let listed = self.shared().listed(at.pos.ordinal).unwrap();
            restate::met(self.shared(), &listed.segment, at.pos.offset, at.end());
        }
    }

    /// Takes a file of the log away while the store is closed.
    pub(super) fn remove(&mut self, ordinal: u64) {
        let listed = self.shared().listed(ordinal).unwrap();
        let path = listed.segment.file.path().to_path_buf();
        drop(listed);
        self.open = None;
        std::fs::remove_file(path).unwrap();
        self.reopen(None, Index::Kept);
    }

    /// What the maintainer does about damage.
    pub(super) fn heed_damage(&mut self) {
        self.maintainer().heed_damage();
        self.settled();
    }
}

const DELIVERED: Settlement = Settlement::Delivered;

/// The first chunk of the log follows none, and numbers were missing before the first that was left.
#[test]
fn ends_at_the_beginning_of_the_log_are_said_again() {
    let mut world = World::new(0);
    world.append(0, 2);
    world.settle(0, End::Oldest, 2, &DELIVERED);
    world.append(1, 1);
    let mut hit = world.spent(1, ChunkKind::Records);
    hit.extend(world.spent(1, ChunkKind::Notes));
    world.damage(&hit);
    world.heed_damage();
    world.reopen(None, Index::Lost);
}

/// Who waits for it does not go on before anybody has looked at what was found.
#[test]
fn ends_that_damage_took_are_waited_for_from_the_opening_on() {
    let mut world = World::new(0);
    world.append(0, 2);
    world.settle(0, End::Oldest, 2, &DELIVERED);
    world.append(1, 1);
    let hit = world.spent(1, ChunkKind::Notes);
    world.damage(&hit);
    let is_said = |world: &World| world.open.as_ref().unwrap().0.wait_restated(Duration::ZERO);
    assert!(!is_said(&world), "nobody has said them again");
    world.heed_damage();
    assert!(is_said(&world));
}

/// No chunk lies behind the hole whose link would tell what is missing.
#[test]
fn ends_at_the_end_of_the_log_are_said_again() {
    let mut world = World::new(0);
    world.append(1, 1);
    world.append(0, 2);
    world.settle(0, End::Oldest, 2, &DELIVERED);
    let mut hit = world.spent(1, ChunkKind::Records);
    hit.extend(world.spent(1, ChunkKind::Notes));
    world.damage(&hit);
    world.heed_damage();
    world.reopen(None, Index::Lost);
}

/// A record that was retried had moved; its copy does not end the letter once more, in a rebuild.
#[test]
fn a_letter_whose_retry_has_moved_is_said_to_have_ended() {
    let mut world = World::new(0);
    world.append(0, 1);
    world.settle(0, End::Oldest, 1, &refused());
    world.append(1, 1);
    world.fill();
    world.retry_dead(0);
    world.fill();
    world.append(1, 1);
    let drafted = world.draft(1).unwrap();
    world.finish(drafted);
    let hit = world.spent(2, ChunkKind::Records);
    world.damage(&hit);
    world.heed_damage();
    world.reopen(None, Index::Lost);
}

/// That a letter was retried says what became of it, though its own bytes are gone.
#[test]
fn a_letter_in_a_hole_whose_retry_is_there_is_not_lost() {
    let mut world = World::new(0);
    world.append(0, 1);
    world.settle(0, End::Oldest, 1, &refused());
    world.append(1, 1);
    world.retry_dead(0);
    world.maintainer().write_checkpoint().unwrap();
    let hit = world.spent(1, ChunkKind::Records);
    world.damage(&hit);
    world.reopen(None, Index::Lost);
}

/// The evidence of the damage was kept, and the process was killed before what it took was said again.
#[test]
fn ends_are_said_again_by_the_next_life_when_this_one_was_killed_before() {
    let mut world = World::new(0);
    world.append(0, 2);
    world.settle(0, End::Oldest, 1, &DELIVERED);
    world.append(1, 1);
    let hit = world.spent(1, ChunkKind::Notes);
    world.damage(&hit);
    world.meet(&hit);
    world.reopen(None, Index::Kept);
    world.heed_damage();
    world.reopen(None, Index::Lost);
}

/// Older segments are not read when a store opens: it is a retirement that finds the hole.
#[test]
fn a_damaged_segment_is_not_retired_before_what_it_said_is_said_again() {
    let mut world = World::new(0);
    world.append(0, 2);
    world.fill();
    world.settle(0, End::Oldest, 1, &DELIVERED);
    world.fill();
    for _ in 0..3 {
        world.append(1, 1);
        world.fill();
        world.maintainer().write_checkpoint().unwrap();
    }
    let hit = world.spent(2, ChunkKind::Notes);
    world.damage(&hit);
    let round = world.retire();
    assert_eq!(round.went.len(), 1, "the notes");
    (0..=1).for_each(|n| world.check_stopped(&round, n));
}

/// It held nothing but notes, so that nothing that waits is missed.
#[test]
fn ends_are_said_again_when_the_file_of_their_notes_is_gone() {
    let mut world = World::new(0);
    world.append(0, 2);
    world.fill();
    world.settle(0, End::Oldest, 1, &DELIVERED);
    world.fill();
    world.append(1, 1);
    world.maintainer().write_checkpoint().unwrap();
    world.remove(2);
    world.heed_damage();
    world.reopen(None, Index::Lost);
}

/// Which files are missing is known for as long as what was in them is not said again.
#[test]
fn a_checkpoint_does_not_make_a_missing_file_one_that_was_retired() {
    let mut world = World::new(0);
    world.append(0, 2);
    world.fill();
    world.settle(0, End::Oldest, 1, &DELIVERED);
    world.fill();
    world.append(1, 1);
    world.remove(2);
    world.maintainer().write_checkpoint().unwrap();
    world.reopen(None, Index::Kept);
    world.heed_damage();
    world.reopen(None, Index::Lost);
    let missing = lock(&world.shared().table).vanished.clone();
    assert!(missing.is_empty(), "what it held is said again: {missing:?}");
}

/// An index that was made anew had not met the records, and let go of what said that they had ended.
#[test]
fn ends_of_records_in_a_hole_are_said_as_long_as_the_hole_is_there() {
    let mut world = World::new(0);
    world.append(0, 2);
    world.append(1, 1);
    world.fill();
    world.settle(0, End::Oldest, 2, &DELIVERED);
    world.fill();
    world.append(1, 1);
    world.fill();
    world.append(1, 1);
    let hit = world.spent(1, ChunkKind::Records);
    world.damage(&hit);
    world.heed_damage();
    world.reopen(None, Index::Lost);
    world.reopen(None, Index::Kept);
    assert_eq!(world.retire().went.len(), 1, "the notes");
    world.reopen(None, Index::Lost);
}

/// What an index that is not trusted any more knew is not mixed with what its successor knows.
#[test]
fn an_index_that_was_made_anew_meanwhile_says_nothing() {
    let mut world = World::new(0);
    world.append(0, 3);
    let end = *world.shared().durable.lock();
    let begun = restate::begin(world.shared()).unwrap();
    add(&world.shared().counters.index_rebuilds, 1);
    assert!(begun.say_again(world.shared(), None).is_err());
    assert_eq!(*world.shared().durable.lock(), end);
}

/// What an index does not hold that was opened again and is behind has not ended.
#[test]
fn an_index_that_is_behind_says_nothing() {
    let mut world = World::new(0);
    world.append(0, 3);
    let end = *world.shared().durable.lock();
    let begun = restate::begin(world.shared()).unwrap();
    lock(&world.shared().index).as_mut().unwrap().go_to(Pos { ordinal: 1, offset: FIRST_CHUNK });
    assert!(begun.say_again(world.shared(), None).is_err());
    assert_eq!(*world.shared().durable.lock(), end);
}

/// sled came back as it was before the note of an end, or of a death, which is damaged since: only what was said
/// again tells.
#[test]
fn an_index_that_went_back_behind_a_hole_heeds_what_was_said_again() {
    for how in [DELIVERED, refused()] {
        let mut world = World::new(0);
        world.append(0, 2);
        let before = world.keep_index();
        world.settle(0, End::Oldest, 1, &how);
        world.append(1, 1);
        let hit = world.spent(1, ChunkKind::Notes);
        world.damage(&hit);
        world.heed_damage();
        world.reopen_with(&before);
    }
}

/// The records are in the hole too: they ended, and are not lost.
#[test]
fn what_an_index_that_went_back_has_not_met_and_was_said_to_have_ended_is_not_lost() {
    let mut world = World::new(0);
    world.append(1, 1);
    let before = world.keep_index();
    world.append(0, 2);
    world.settle(0, End::Oldest, 2, &DELIVERED);
    world.append(1, 1);
    let mut hit = world.spent(1, ChunkKind::Records);
    hit.extend(world.spent(1, ChunkKind::Notes));
    world.damage(&hit);
    world.heed_damage();
    world.reopen_with(&before);
}

/// A body says nothing that the log has to say again.
#[test]
fn a_damaged_body_that_nobody_needs_is_no_reason_to_say_anything_again() {
    let mut world = World::new(0);
    world.append(0, 1);
    world.settle(0, End::Oldest, 1, &DELIVERED);
    world.fill();
    world.append(1, 1);
    let records = world.spent(1, ChunkKind::Records).remove(0);
    world.damage_byte(1, records.end() - 1);
    world.draft(0).unwrap();
    assert!(!world.shared().is_damaged.load(Ordering::Acquire));
}

/// Moving met the hole again and again, and nothing else moved or went.
#[test]
fn what_lay_in_a_hole_is_lost_once_the_rest_of_its_segment_moves() {
    let mut world = World::new(0);
    (0..8).for_each(|_| world.append(0, 1));
    world.settle(0, End::Oldest, 7, &DELIVERED);
    world.fill();
    world.append(1, 1);
    let waits = world.chunks().into_iter().rfind(|at| at.pos.ordinal == 1 && at.header.first_seq == 8);
    world.damage_byte(1, waits.unwrap().pos.offset + 20);
    let drafted = world.draft(0).unwrap();
    world.finish(drafted);
    world.settled();
    let live = lock(&world.shared().index).as_ref().unwrap().segment(1).unwrap().live;
    assert_eq!(live, 0, "nothing pins the segment");
    let lost: u64 = lock(&world.shared().lanes).iter().map(|lane| lane.ledger.lost).sum();
    assert_eq!(lost, 1);
    assert_eq!(world.retire().went.len(), 1);
}

/// The log goes on while it is read, and where its segments end is found in the latest checkpoint only.
#[test]
fn the_checkpoint_knows_the_segments_that_were_begun_meanwhile() {
    let mut world = World::new(0);
    world.append(0, 1);
    let begun = restate::begin(world.shared()).unwrap();
    for _ in 0..2 {
        world.append(0, 1);
        world.fill();
    }
    world.append(0, 1);
    begun.say_again(world.shared(), None).unwrap();
    let shared = world.shared();
    let there: Vec<u64> = lock(&shared.table).segments.keys().copied().collect();
    let newest_first = there.iter().rev().filter_map(|ordinal| shared.listed(*ordinal));
    let latest = checkpoint::latest(newest_first, |_| ()).unwrap().unwrap();
    let table = lock(&shared.table);
    let end =
        |(o, listed): (&u64, &Listed)| (*o, if *o == table.active { 0 } else { checkpoint::end_of(listed) });
    let ends: Vec<(u64, u64)> = table.segments.iter().map(end).collect();
    assert_eq!(latest.checkpoint.segments, ends);
}
