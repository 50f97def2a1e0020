//! A file system in memory that keeps what was flushed apart from what was not.
//!
//! A flush of a file makes its bytes and its length durable, a flush of a directory the names in it.
//! Neither does the other's work: a file whose directory was not flushed may be gone, with all of
//! its flushed bytes. That is less than ext4 and XFS give, and what POSIX promises.
//!
//! At the operation that it was armed for the power goes. [`Disk::cut`] then makes what a start finds
//! of it. It knows nothing of FUSE; `mount` does.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use fuser::Errno;

use crate::content::{Content, Sectors};
use crate::dice::Dice;
use crate::luck::Luck;

pub(crate) const ROOT: u64 = 1;

/// Flushes that the device answers and does not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Lie {
    #[default]
    None,
    OfFiles,
    OfDirectories,
}

/// What lies under a number.
#[derive(Debug)]
pub(crate) enum Node {
    File(Content),
    Dir(Names),
    /// A name to connect to, and nothing more.
    Socket,
}

/// The names in a directory.
#[derive(Debug, Default)]
pub(crate) struct Names {
    kept: BTreeMap<OsString, u64>,
    pub(crate) now: BTreeMap<OsString, u64>,
}

/// A change of names that happens whole or not at all: in which directory, which, and what it is then.
type Move = Vec<(u64, OsString, Option<u64>)>;

#[derive(Debug)]
pub(crate) struct Disk {
    nodes: BTreeMap<u64, Node>,
    moves: Vec<Move>,
    next: u64,
    lie: Lie,
}

/// What a cut cost.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) sectors: Sectors,
    pub(crate) moves_lost: u64,
}

impl Disk {
    pub(crate) fn new(lie: Lie) -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Dir(Names::default()))]);
        Self { nodes, moves: Vec::new(), next: ROOT + 1, lie }
    }

    pub(crate) fn node(&self, ino: u64) -> Result<&Node, Errno> {
        self.nodes.get(&ino).ok_or(Errno::ENOENT)
    }

    pub(crate) fn file(&mut self, ino: u64) -> Result<&mut Content, Errno> {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Dir(_)) => Err(Errno::EISDIR),
            Some(Node::Socket) => Err(Errno::ENXIO),
            None => Err(Errno::ENOENT),
        }
    }

    pub(crate) fn names(&self, dir: u64) -> Result<&BTreeMap<OsString, u64>, Errno> {
        match self.node(dir)? {
            Node::Dir(names) => Ok(&names.now),
            Node::File(_) | Node::Socket => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn look_up(&self, dir: u64, name: &OsStr) -> Result<u64, Errno> {
        self.names(dir)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// The name of a file, for the tally.
    pub(crate) fn name_of(&self, ino: u64) -> String {
        let name_in = |node: &Node| match node {
            Node::Dir(names) => names.now.iter().find(|(_, n)| **n == ino).map(|(name, _)| name.clone()),
            Node::File(_) | Node::Socket => None,
        };
        let name = self.nodes.values().find_map(name_in);
        name.unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(crate) fn make(&mut self, dir: u64, name: &OsStr, node: Node) -> Result<u64, Errno> {
        if self.names(dir)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let ino = self.next;
        self.next += 1;
        self.nodes.insert(ino, node);
        self.change(vec![(dir, name.to_owned(), Some(ino))]);
        Ok(ino)
    }

    pub(crate) fn remove(&mut self, dir: u64, name: &OsStr) -> Result<(), Errno> {
        let ino = self.look_up(dir, name)?;
        if self.names(ino).is_ok_and(|names| !names.is_empty()) {
            return Err(Errno::ENOTEMPTY);
        }
        self.change(vec![(dir, name.to_owned(), None)]);
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        let ino = self.look_up(from.0, from.1)?;
        self.names(to.0)?;
        self.change(vec![(from.0, from.1.to_owned(), None), (to.0, to.1.to_owned(), Some(ino))]);
        Ok(())
    }

    pub(crate) fn flush_file(&mut self, ino: u64) -> Result<(), Errno> {
        let lies = self.lie == Lie::OfFiles;
        let content = self.file(ino)?;
        if !lies {
            content.flush();
        }
        Ok(())
    }

    pub(crate) fn flush_names(&mut self, dir: u64) -> Result<(), Errno> {
        self.names(dir)?;
        if self.lie == Lie::OfDirectories {
            return Ok(());
        }
        let (flushed, left): (Vec<Move>, Vec<Move>) =
            self.moves.drain(..).partition(|m| m.iter().any(|(of, ..)| *of == dir));
        self.moves = left;
        for change in flushed {
            self.keep(change);
        }
        Ok(())
    }

    /// A file's bytes are what they were when it was last flushed.
    pub(crate) fn forget_unflushed(&mut self, ino: u64) {
        if let Some(Node::File(content)) = self.nodes.get_mut(&ino) {
            content.forget_unflushed();
        }
    }

    /// The power is cut: what is there from now on is what a start finds.
    pub(crate) fn cut(&mut self, dice: &mut Dice) -> Cost {
        let mut cost = Cost::default();
        let (of_names, of_bytes) = (Luck::draw(dice), Luck::draw(dice));
        for change in std::mem::take(&mut self.moves) {
            if of_names.keeps(dice) {
                self.keep(change);
            } else {
                cost.moves_lost += 1;
            }
        }
        for node in self.nodes.values_mut() {
            match node {
                Node::File(content) => {
                    let Sectors { lost, torn } = content.cut(of_bytes, dice);
                    cost.sectors.lost += lost;
                    cost.sectors.torn += torn;
                }
                Node::Dir(names) => names.now.clone_from(&names.kept),
                Node::Socket => {}
            }
        }
        self.forget_nameless();
        cost
    }

    fn change(&mut self, change: Move) {
        for (dir, name, ino) in &change {
            if let Some(Node::Dir(names)) = self.nodes.get_mut(dir) {
                set(&mut names.now, name, *ino);
            }
        }
        self.moves.push(change);
    }

    fn keep(&mut self, change: Move) {
        for (dir, name, ino) in change {
            if let Some(Node::Dir(names)) = self.nodes.get_mut(&dir) {
                set(&mut names.kept, &name, ino);
            }
        }
    }

    /// Nothing is open after a cut, so what has no name is gone.
    fn forget_nameless(&mut self) {
        let mut named = vec![ROOT];
        let mut at = 0;
        while let Some(ino) = named.get(at) {
            if let Some(Node::Dir(names)) = self.nodes.get(ino) {
                named.extend(names.now.values());
            }
            at += 1;
        }
        self.nodes.retain(|ino, _| named.contains(ino));
    }
}

fn set(names: &mut BTreeMap<OsString, u64>, name: &OsStr, ino: Option<u64>) {
    match ino {
        Some(ino) => names.insert(name.to_owned(), ino),
        None => names.remove(name),
    };
}
