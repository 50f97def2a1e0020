//! Spool files, from the configured folders.

use std::sync::Arc;

use revenium_store::Store;

use super::Shell;
use super::count::Counted;
use super::intake;
use crate::intake::{Door, Limits};
use crate::metrics::Via;
use crate::queue::Pulsed;
use crate::spool::{Settings, Standing, run};
use crate::tasks::{Stage, Tasks};
use crate::tenant::Tenants;

/// Where bad lines are kept, in the data directory.
pub(crate) const QUARANTINE: &str = "spool-quarantine";

/// Most bytes of them: four full spool files. As much as the log keeps of damaged bytes.
const QUARANTINE_BYTES_MAX: u64 = 64 << 20;

/// Starts to take spool files in, if there is a folder to take them from.
pub(super) fn start(shell: &Shell, store: Arc<Store>, tenants: Arc<Tenants>, tasks: &mut Tasks) {
    let config = &shell.config;
    if config.spool.dirs.is_empty() {
        return;
    }
    let settings = Settings {
        dirs: config.spool.dirs.clone(),
        quarantine: config.data_dir.join(QUARANTINE),
        quarantine_bytes_max: QUARANTINE_BYTES_MAX,
        allow: intake::allow(config),
        door: Door::new(tenants),
        batch_lines_max: Limits::default().batch_lines_max,
        batch_bytes_max: intake::batch_bytes_max(config),
    };
    let queue = Arc::new(Pulsed::new(store, shell.board.pulse().clone()));
    let counted = Arc::new(Counted::new(shell.metrics.clone(), Via::Spool));
    let standing = Standing::default();
    let shown = standing.clone();
    shell.board.attach_spool(move || shown.now());
    tasks
        .spawn(Stage::Intake, "spool", |stop| run(settings, queue, counted.clone(), counted, standing, stop));
}
