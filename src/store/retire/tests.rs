//! Nothing that ended comes back, wherever a retirement is stopped, with or without the index.

mod damage;
mod disk;
mod orders;
mod world;

use std::sync::atomic::Ordering;

use crate::claim::{self, ChunkCache};
use crate::types::{End, Seq, Settlement};
use world::{Index, World};

/// The maintainer chose a record to be moved; it was delivered, in a commit of its own that was the
/// segment's last, before the copy was written to the next one. Both segments went together, so neither
/// said the other's ends again: a kill between the two removals left the copy without its end.
#[test]
fn a_note_before_a_copy_of_its_record_is_said_again_when_they_retire_together() {
    let mut world = World::new(1);
    world.append(0, 1);
    world.fill();
    world.append(1, 1);
    let drafted = world.draft(0).unwrap();
    world.settle(0, End::Oldest, 1, &Settlement::Delivered);
    world.settle(1, End::Oldest, 1, &Settlement::Delivered);
    world.fill();
    world.finish(drafted);
    world.fill();
    world.append(1, 1);
    world.fill();
    world.append(1, 1);
    let round = world.retire();
    assert_eq!(round.went.len(), 3, "the first place, the note, the copy");
    (0..=3).for_each(|n| world.check_stopped(&round, n));
}

/// The copy's segment was retired and its file was still there when the process was killed. The next one
/// did not know any more that the file was there, and let the note of the record's end go before it.
#[test]
fn a_segment_whose_removal_was_stopped_keeps_the_ends_of_its_records() {
    let mut world = World::new(0);
    world.append(0, 1);
    world.fill();
    world.append(1, 1);
    let drafted = world.draft(0).unwrap();
    world.settle(0, End::Oldest, 1, &Settlement::Delivered);
    world.fill();
    world.finish(drafted);
    world.fill();
    world.append(2, 1);
    let round = world.retire();
    assert_eq!(round.went.len(), 2, "the first place and the copy; beside the note a record waits");
    world.reopen(Some((&round, 1)), Index::Kept);
    world.settle(1, End::Oldest, 1, &Settlement::Delivered);
    let round = world.retire();
    assert_eq!(round.went.len(), 2, "the note and the copy");
    (0..=2).for_each(|n| world.check_stopped(&round, n));
}

/// A store that closes does not wait for its index: a round began beside a copy that the index had not met,
/// and let the first place and the note of the record's end go. Nothing else said that the copy had ended.
#[test]
fn nothing_retires_before_the_index_knows_where_records_moved() {
    let mut world = World::new(0);
    world.append(0, 1);
    world.fill();
    world.append(1, 1);
    let drafted = world.draft(0).unwrap();
    world.finish(drafted);
    let end = *world.shared().durable.lock();
    assert_eq!(world.maintainer().moved_to, end);
    world.maintainer().moved_to.offset += 1;
    assert_eq!(world.retire().went.len(), 0, "not followed yet");
    world.append(1, 1);
    assert_eq!(world.retire().went.len(), 1, "followed");
}

/// A flush had failed, so a segment ended before the bytes of a commit that was written once more to the next
/// one. That one retired, and its header, which said where the first had ended. Then the first was retired:
/// the checkpoint's word was taken for obsolete, while a kill had left the file.
#[test]
fn where_a_segment_ended_is_known_as_long_as_its_file_is_there() {
    a_left_behind_segment_ends_where_it_did(|world| {
        world.maintainer().write_checkpoint().unwrap();
    });
}

/// So it is when damage is why there is another checkpoint.
#[test]
fn where_a_segment_ended_is_known_after_damage_too() {
    a_left_behind_segment_ends_where_it_did(|world| {
        world.shared().is_damaged.store(true, Ordering::Release);
        world.heed_damage();
    });
}

fn a_left_behind_segment_ends_where_it_did(write_checkpoint: impl FnOnce(&mut World)) {
    let mut world = World::new(0);
    world.append(1, 1);
    world.append_twice(0, 1);
    world.settle(0, End::Oldest, 1, &Settlement::Delivered);
    world.fill();
    world.append(2, 1);
    assert_eq!(world.retire().went.len(), 1, "the second");
    world.settle(1, End::Oldest, 1, &Settlement::Delivered);
    let stays = world.keep_from_removal(0);
    assert_eq!(world.retire().went.len(), 0, "cannot be removed");
    write_checkpoint(&mut world);
    stays.put_back();
    world.reopen(None, Index::Lost);
    let round = world.retire();
    assert_eq!(round.went.len(), 1, "the first");
    (0..=1).for_each(|n| world.check_stopped(&round, n));
}

/// Checkpoints go on knowing such a file, so they say with it that it may go.
#[test]
fn a_segment_that_could_not_be_removed_at_first_is_no_loss_once_it_is() {
    let mut world = World::new(0);
    world.append(1, 1);
    world.fill();
    world.append(0, 1);
    world.settle(0, End::Oldest, 1, &Settlement::Delivered);
    world.fill();
    world.append(1, 1);
    let stays = world.keep_from_removal(1);
    assert_eq!(world.retire().went.len(), 0, "cannot be removed");
    world.fill();
    world.maintainer().write_checkpoint().unwrap();
    stays.put_back();
    assert!(world.maintainer().left_behind.is_some());
    world.retire();
    assert!(world.maintainer().left_behind.is_none(), "removed now");
    world.reopen(None, Index::Lost);
}

/// Whoever lists dead letters asks the index for their places, and reads them afterwards. What had moved by then
/// was left out of the list, and was logged as a loss that it was not.
#[test]
fn a_dead_letter_that_moves_while_it_is_listed_is_listed() {
    let mut world = World::new(0);
    world.append(0, 1);
    world.settle(0, End::Oldest, 1, &world::refused());
    world.fill();
    world.append(1, 1);
    let before = claim::dead_entry(world.shared(), Seq(1)).unwrap().unwrap();
    let drafted = world.draft(0).unwrap();
    world.finish(drafted);
    assert_eq!(world.retire().went.len(), 1, "where the letter was");
    let read = claim::letter(world.shared(), &ChunkCache::default(), Seq(1), before).unwrap();
    assert_eq!(read.map(|letter| letter.record.body), Some("r1".into()));
}
