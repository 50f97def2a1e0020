//! How far a part has come before it is ready, for everyone who may look: on the board, and so in
//! `status`, `/readyz` and what the service manager hears; as a bar on a terminal, else as log lines.

use std::time::Instant;

use tracing::info;

use crate::admin::Board;
use crate::progress::{Progress, Teller};

/// Shows one part. Its bar goes with it.
pub(super) struct Shown<'a> {
    board: &'a Board,
    part: &'static str,
    doing: &'static str,
    began: Instant,
    teller: Teller,
}

impl<'a> Shown<'a> {
    pub(super) fn new(board: &'a Board, part: &'static str) -> Self {
        Self { board, part, doing: "", began: Instant::now(), teller: Teller::begin() }
    }

    /// What it does now, and how far it is with that; nothing of nothing says that this is not known.
    pub(super) fn show(&mut self, doing: &'static str, so_far: revenium_store::Progress) {
        if doing != self.doing {
            *self = Self { doing, ..Self::new(self.board, self.part) };
        }
        let Self { board, part, began, .. } = self;
        let revenium_store::Progress { done_bytes, total_bytes } = so_far;
        let progress = Progress { done: done_bytes, total: total_bytes, took: began.elapsed() };
        let name = format!("{part}: {doing}");
        if total_bytes == 0 {
            board.starting(part, doing);
            if self.teller.tell(progress.took, |_| name.clone()) {
                info!("{name}");
            }
            return;
        }
        let words = progress.of_bytes();
        board.starting(part, format!("{doing}: {words}"));
        if self.teller.tell(progress.took, |columns| progress.bar(&name, &words, columns)) {
            let (percent, left_s) = (progress.percent(), progress.left().map(|left| left.as_secs()));
            info!(percent, done_bytes, total_bytes, left_s, "{name}");
        }
    }
}
