//! A loss of power, played: of what was done through `disk`, only what was brought to the disk is left.
//!
//! The worst that may happen: a name or a byte that was not synced is gone, however long ago it was made.
//! (A disk may keep more: [`Kept::Names`] keeps all names, as file systems that write names down before
//! the bytes do; [`Kept::Removals`] what removes one.) Each thread records for itself.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One call of `disk` that has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Create(PathBuf),
    Touch(PathBuf),
    Write(PathBuf, Vec<u8>),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    MakeFolder(PathBuf),
    SyncFolder(PathBuf),
}

thread_local! {
    static STEPS: RefCell<Option<Vec<Step>>> = const { RefCell::new(None) };
}

/// Notes a step, if this thread records.
pub(crate) fn note(step: impl FnOnce() -> Step) {
    STEPS.with_borrow_mut(|steps| {
        if let Some(steps) = steps {
            steps.push(step());
        }
    });
}

/// Records what this thread does until it is ended.
#[derive(Debug)]
pub(crate) struct Record {
    base: PathBuf,
    before: Tree,
}

impl Record {
    /// Begins; what is in `base` now is on the disk.
    pub(crate) fn of(base: &Path) -> Self {
        let mut before = Tree { nodes: vec![Node::folder()] };
        before.take_in(0, base);
        STEPS.set(Some(Vec::new()));
        Self { base: base.to_owned(), before }
    }

    /// How many steps were taken.
    pub(crate) fn len(&self) -> usize {
        STEPS.with_borrow(|steps| steps.as_ref().map_or(0, Vec::len))
    }

    pub(crate) fn end(self) -> Steps {
        Steps { base: self.base, before: self.before, all: STEPS.take().unwrap_or_default() }
    }
}

/// What was done to a folder.
#[derive(Debug)]
pub(crate) struct Steps {
    base: PathBuf,
    before: Tree,
    all: Vec<Step>,
}

/// What a loss of power leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// What was synced, and nothing else.
    Synced,
    /// All names, but of the bytes of files only those that were synced.
    Names,
    /// What was synced and has not been removed since.
    Removals,
}

impl Steps {
    pub(crate) fn all(&self) -> &[Step] {
        &self.all
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Makes the folder what it is after a loss of power that came after `done` steps.
    pub(crate) fn survivors(&self, done: usize, kept: Kept) {
        let mut tree = self.before.clone();
        for step in &self.all[..done] {
            tree.follow(step, &self.base);
            if let (Step::Remove(path), Kept::Removals) = (step, kept) {
                tree.forget(path.strip_prefix(&self.base).unwrap());
            }
        }
        std::fs::remove_dir_all(&self.base).unwrap();
        tree.lay_out(0, &self.base, kept);
    }
}

#[derive(Clone, Debug)]
enum Node {
    File { written: Vec<u8>, synced: Vec<u8> },
    Folder { names: BTreeMap<String, usize>, synced: BTreeMap<String, usize> },
}

impl Node {
    fn file() -> Self {
        Self::File { written: Vec::new(), synced: Vec::new() }
    }

    fn folder() -> Self {
        Self::Folder { names: BTreeMap::new(), synced: BTreeMap::new() }
    }
}

/// Files and folders, as they are and as they are on the disk. The first is the base.
#[derive(Clone, Debug)]
struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Takes in what `folder` holds as synced.
    fn take_in(&mut self, at: usize, folder: &Path) {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let node = if path.is_dir() {
                let inner = self.add(Node::folder());
                self.take_in(inner, &path);
                inner
            } else {
                let bytes = std::fs::read(&path).unwrap();
                self.add(Node::File { written: bytes.clone(), synced: bytes })
            };
            found.insert(name_of(&path), node);
        }
        self.nodes[at] = Node::Folder { names: found.clone(), synced: found };
    }

    fn names(&mut self, folder: usize) -> &mut BTreeMap<String, usize> {
        match &mut self.nodes[folder] {
            Node::Folder { names, .. } => names,
            Node::File { .. } => panic!("a file is used as a folder"),
        }
    }

    fn at(&mut self, path: &Path) -> usize {
        path.components()
            .fold(0, |at, part| self.names(at)[&part.as_os_str().to_str().unwrap().to_owned()])
    }

    fn folder_of(&mut self, path: &Path) -> &mut BTreeMap<String, usize> {
        let folder = self.at(path.parent().unwrap());
        self.names(folder)
    }

    fn follow(&mut self, step: &Step, base: &Path) {
        let inner = |path: &Path| path.strip_prefix(base).map(Path::to_owned);
        match step {
            Step::Create(path) => {
                let path = inner(path).unwrap();
                let file = self.add(Node::file());
                self.folder_of(&path).insert(name_of(&path), file);
            }
            Step::Touch(path) => {
                let path = inner(path).unwrap();
                let file = self.add(Node::file());
                self.folder_of(&path).entry(name_of(&path)).or_insert(file);
            }
            Step::MakeFolder(path) => {
                let path = inner(path).unwrap();
                let folder = self.add(Node::folder());
                self.folder_of(&path).insert(name_of(&path), folder);
            }
            Step::Write(path, bytes) => {
                let file = self.at(&inner(path).unwrap());
                let Node::File { written, .. } = &mut self.nodes[file] else { panic!("{path:?}") };
                written.extend_from_slice(bytes);
            }
            Step::Sync(path) => {
                let file = self.at(&inner(path).unwrap());
                let Node::File { written, synced } = &mut self.nodes[file] else {
                    panic!("{path:?}")
                };
                synced.clone_from(written);
            }
            Step::Rename(from, to) => {
                let (from, to) = (inner(from).unwrap(), inner(to).unwrap());
                let file = self.folder_of(&from).remove(&name_of(&from)).unwrap();
                self.folder_of(&to).insert(name_of(&to), file);
            }
            Step::Remove(path) => {
                let path = inner(path).unwrap();
                self.folder_of(&path).remove(&name_of(&path)).unwrap();
            }
            Step::SyncFolder(path) => {
                // What is above the base was there before.
                let Ok(path) = inner(path) else { return };
                let folder = self.at(&path);
                if let Node::Folder { names, synced } = &mut self.nodes[folder] {
                    synced.clone_from(names);
                }
            }
        }
    }

    /// That the file is removed is on the disk already.
    fn forget(&mut self, path: &Path) {
        let folder = self.at(path.parent().unwrap());
        if let Node::Folder { synced, .. } = &mut self.nodes[folder] {
            synced.remove(&name_of(path));
        }
    }

    fn lay_out(&self, at: usize, path: &Path, kept: Kept) {
        match &self.nodes[at] {
            Node::File { synced, .. } => std::fs::write(path, synced).unwrap(),
            Node::Folder { names, synced } => {
                std::fs::create_dir(path).unwrap();
                for (name, node) in if kept == Kept::Names { names } else { synced } {
                    self.lay_out(*node, &path.join(name), kept);
                }
            }
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
